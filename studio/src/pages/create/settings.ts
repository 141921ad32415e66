// The settings of a drawing as the form has them: kept in this browser, sent as a job, taken back from a picture.
import { useCallback, useState } from "react";
import type { Schemas } from "../../api/client";

export type Family = Schemas["FamilyOffer"];
export type OutputFormat = "png" | "webp" | "jpeg" | "svg";

export interface Settings {
  prompt: string;
  negativePrompt: string;
  model: string;
  /** `null` in a number: what the family takes by itself. */
  width: number | null;
  height: number | null;
  steps: number | null;
  guidance: number | null;
  sampler: string;
  seed: number | null;
  lockSeed: boolean;
  count: number;
  format: OutputFormat;
  /** Names of GET /api/styles; empty: none. */
  style: string;
  palette: string;
  mood: string;
}

export const DEFAULTS: Settings = {
  prompt: "",
  negativePrompt: "",
  model: "",
  width: null,
  height: null,
  steps: null,
  guidance: null,
  sampler: "",
  seed: null,
  lockSeed: false,
  count: 4,
  format: "png",
  style: "",
  palette: "",
  mood: "",
};

const KEPT = "create";

function kept(): Settings {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(KEPT) ?? "{}") };
  } catch {
    return DEFAULTS;
  }
}

export function useSettings(): [Settings, (change: Partial<Settings>) => void] {
  const [settings, set] = useState(kept);
  const change = useCallback((change: Partial<Settings>) => {
    set((before) => {
      const after = { ...before, ...change };
      localStorage.setItem(KEPT, JSON.stringify(after));
      return after;
    });
  }, []);
  return [settings, change];
}

/** For the page that a picture is taken to: it reads the settings from here when it opens. */
export function keepSettings(change: Partial<Settings>) {
  localStorage.setItem(KEPT, JSON.stringify({ ...kept(), ...change }));
}

export const randomSeed = () => Math.floor(Math.random() * 2 ** 31);

/** The body of `POST /v1/jobs`. Several pictures are a batch, whose seeds follow one another. */
export function jobOf(
  settings: Settings,
  seed: number,
  picture: Record<string, unknown> = {},
): Record<string, unknown> {
  const input: Record<string, unknown> = { prompt: settings.prompt.trim(), seed, ...picture };
  if (settings.negativePrompt.trim()) input.negative_prompt = settings.negativePrompt.trim();
  const styles = [settings.style, settings.palette, settings.mood].filter(Boolean);
  if (styles.length) input.styles = styles.map((name) => ({ name, weight: 1 }));
  if (settings.model) input.model = settings.model;
  if (settings.sampler) input.sampler = settings.sampler;
  if (settings.width !== null) input.width = settings.width;
  if (settings.height !== null) input.height = settings.height;
  if (settings.steps !== null) input.num_inference_steps = settings.steps;
  if (settings.guidance !== null) input.guidance_scale = settings.guidance;
  if (settings.format !== "svg") input.output_format = settings.format;
  const kind = settings.format === "svg" ? "prompt_to_svg" : "illustrate";
  return settings.count > 1 ? { kind, input, count: settings.count } : { kind, input };
}

/** The form's settings from those of a picture, in the names of jobs and of the gallery. */
export function settingsOf(prompt: string, parameters: Record<string, unknown>): Partial<Settings> {
  const number = (name: string) => (typeof parameters[name] === "number" ? (parameters[name] as number) : null);
  const text = (name: string) => (typeof parameters[name] === "string" ? (parameters[name] as string) : "");
  return {
    prompt,
    negativePrompt: text("negative_prompt"),
    model: text("model"),
    width: number("width"),
    height: number("height"),
    steps: number("num_inference_steps"),
    guidance: number("guidance_scale"),
    sampler: text("sampler"),
    seed: number("seed"),
    lockSeed: number("seed") !== null,
  };
}
