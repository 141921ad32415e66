// Pictures that were dropped, and what became of them. Three are converted at a time.
import { useCallback, useRef, useState } from "react";
import { request, type Schemas } from "../../api/client";
import { newKey } from "../../api/queries";

export type Converted = Schemas["ConversionResponse"];

export interface Options {
  tier: string;
  targetQuality: number;
  maxBytes: number | null;
  maxPaths: number | null;
  maxColors: number | null;
  shapes: boolean;
  removeBackground: boolean;
  curves: string;
  groupBy: string;
  cutOut: boolean;
  outlines: boolean;
}

export interface Conversion {
  key: string;
  file: File;
  /** Object URL of the source. */
  source: string;
  state: "waiting" | "running" | "done" | "failed";
  /** Those that it was, or is to be, converted with. */
  options: Options;
  result?: Converted;
  /** Object URL of the SVG. */
  svg?: string;
  error?: unknown;
  clientTimeS?: number;
}

const AT_A_TIME = 3;
const MOST = 100;

export function useConversions(options: Options) {
  const [all, setAll] = useState<Conversion[]>([]);
  const queue = useRef<Conversion[]>([]);
  const running = useRef(0);
  const current = useRef(options);
  current.current = options;

  const update = useCallback((key: string, change: Partial<Conversion>) => {
    setAll((before) => before.map((one) => (one.key === key ? { ...one, ...change } : one)));
  }, []);

  const next = useCallback(async () => {
    const one = running.current < AT_A_TIME ? queue.current.shift() : undefined;
    if (!one) return;
    running.current += 1;
    const options = current.current;
    update(one.key, { state: "running", options });
    const began = performance.now();
    try {
      const result = await convert(one.file, options);
      const svg = URL.createObjectURL(new Blob([result.svg_content], { type: "image/svg+xml" }));
      update(one.key, { state: "done", result, svg, clientTimeS: (performance.now() - began) / 1000 });
    } catch (error) {
      update(one.key, { state: "failed", error });
    } finally {
      running.current -= 1;
      next();
    }
  }, [update]);

  const add = useCallback(
    (files: File[]) => {
      const added = files
        .filter((file) => file.type.startsWith("image/"))
        .slice(0, MOST)
        .map((file) => ({
          key: newKey(),
          file,
          source: URL.createObjectURL(file),
          state: "waiting" as const,
          options: current.current,
        }));
      setAll((before) => [...added, ...before].slice(0, MOST));
      queue.current.push(...added);
      for (let started = 0; started < AT_A_TIME; started++) next();
      return added;
    },
    [next],
  );

  /** All of them, with the options as they are now. */
  const again = useCallback(() => {
    setAll((before) => {
      const waiting = before.map((one) => ({ ...one, state: "waiting" as const, error: undefined }));
      queue.current = waiting.slice();
      return waiting;
    });
    for (let started = 0; started < AT_A_TIME; started++) setTimeout(next);
  }, [next]);

  const clear = useCallback(() => {
    queue.current = [];
    setAll((before) => {
      for (const { source, svg } of before) {
        URL.revokeObjectURL(source);
        if (svg) URL.revokeObjectURL(svg);
      }
      return [];
    });
  }, []);
  return { all, add, again, clear };
}

function convert(file: File, options: Options): Promise<Converted> {
  return request<Converted>("POST", "/api/convert-ai", { form: formOf(file, options) });
}

export function formOf(file: File, options: Options): FormData {
  const form = new FormData();
  form.set("image", file);
  form.set("tier", options.tier);
  form.set("target_quality", String(options.targetQuality));
  form.set("validate", "true");
  if (options.maxBytes) form.set("max_bytes", String(options.maxBytes));
  if (options.maxPaths) form.set("max_paths", String(options.maxPaths));
  if (options.maxColors) form.set("max_colors", String(options.maxColors));
  if (!options.shapes) form.set("shapes", "false");
  if (options.curves !== "cubic") form.set("curves", options.curves);
  if (options.groupBy !== "none") form.set("group_by", options.groupBy);
  if (options.cutOut) form.set("stacking", "cut_out");
  if (options.outlines) form.set("draw", "strokes");
  if (options.removeBackground) form.set("background", "remove");
  return form;
}
