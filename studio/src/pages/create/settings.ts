// The settings of a drawing as the form has them: kept in this browser, sent as a job, taken back from a picture.
import type { Schemas } from "../../api/client";
import { store } from "../../ui/store";
import { type Guides, guideFields, guidesOf, keptGuides, NO_GUIDES } from "./guides";
import { keptLayout, type Layout, layoutFields, layoutOf, NO_LAYOUT } from "./layout";
import { restoreSource, type Source, sourceFields, sourceOf } from "./source";

export type Family = Schemas["FamilyOffer"];
export type OutputFormat = "png" | "webp" | "jpeg" | "svg";

export interface Settings extends Guides {
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
  layout: Layout;
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
  ...NO_GUIDES,
  layout: NO_LAYOUT,
};

const KEPT = "create";

function kept(): Settings {
  try {
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(KEPT) ?? "{}") };
  } catch {
    return DEFAULTS;
  }
}

/** Storage that is full or closed keeps nothing; the form goes on. */
function keep(settings: Settings) {
  const small = { ...settings, ...keptGuides(settings), layout: keptLayout(settings.layout) };
  try {
    localStorage.setItem(KEPT, JSON.stringify(small));
  } catch {}
}

const form = store(kept, keep);

export const useSettings = (): [Settings, (change: Partial<Settings>) => void] => [form.use(), form.change];

/** From another page. */
export const keepSettings = form.change;
export const currentSettings = form.get;

/** Those that the chosen model does not take, and are not shown, stay. */
export const editGuides = <K extends keyof Guides>(name: K, edit: (now: Guides[K]) => Guides[K]) =>
  keepSettings({ [name]: edit(form.get()[name]) });

/** Adds words to the prompt that the Create page will open with. */
export function keepWords(words: string) {
  const prompt = form.get().prompt.replace(/[\s,.]+$/, "");
  keepSettings({ prompt: prompt ? `${prompt}, ${words}` : words });
}

export const randomSeed = () => Math.floor(Math.random() * 2 ** 31);

/** The chosen one, else the first of the site. */
export const familyOf = (settings: Settings, families: Family[]): Family | undefined =>
  families.find(({ name }) => name === settings.model) ?? families[0];

/** Without what this family does not take. `loras`: those of the site, once they are known. */
export function offered(settings: Settings, family: Family | undefined, loras?: Schemas["LoraItem"][]): Settings {
  if (!family) return settings;
  const fits = (name: string) => !loras || loras.some((one) => one.name === name && one.families.includes(family.name));
  return {
    ...settings,
    loras: family.takes_loras ? settings.loras.filter(({ name }) => fits(name)) : [],
    references: family.takes_references ? settings.references : [],
    controls: settings.controls.filter(({ type }) => family.controls.includes(type)),
  };
}

/** Steps and guidance of the drawing, as the stack takes them where the form says nothing. */
export function drawnSteps(settings: Settings, family: Family, { picture }: Source) {
  const few = family.long_step_samplers.includes(settings.sampler || family.sampler) ? family.few_steps : null;
  const words = settings.negativePrompt.trim() || settings.style || settings.palette || settings.mood;
  const isPlain = settings.guidance === null && !words && !picture;
  const steps = settings.steps ?? (few !== null && isPlain ? few : family.num_inference_steps);
  return { steps, guidance: settings.guidance ?? (steps === few ? 1 : family.guidance_scale) };
}

/** The size of the drawing, as the stack takes it where the form says nothing: that of its picture, as near as can be. */
export function drawnSize(settings: Settings, family: Family, { picture, use }: Source) {
  const { min_px, max_px, multiple_of_px: step } = family;
  let natural = { width: family.width, height: family.height };
  if (picture) {
    const width = picture.width + use.outpaint.left + use.outpaint.right;
    const height = picture.height + use.outpaint.top + use.outpaint.bottom;
    const scale = Math.max(Math.min(1, max_px / Math.max(width, height)), min_px / Math.min(width, height));
    const side = (pixels: number) =>
      Math.min(
        Math.floor(max_px / step) * step,
        Math.max(Math.ceil(min_px / step) * step, Math.round((pixels * scale) / step) * step),
      );
    natural = { width: side(width), height: side(height) };
  }
  return { width: settings.width ?? natural.width, height: settings.height ?? natural.height };
}

/** The body of `POST /v1/jobs`. Several pictures are a batch, whose seeds follow one another. */
export async function jobOf(settings: Settings, seed: number, source: Source): Promise<Record<string, unknown>> {
  const input: Record<string, unknown> = { prompt: settings.prompt.trim(), seed };
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
  const pictures = [sourceFields(source), guideFields(settings), layoutFields(settings.layout)];
  Object.assign(input, ...(await Promise.all(pictures)));
  const kind = settings.format === "svg" ? "prompt_to_svg" : "illustrate";
  return settings.count > 1 ? { kind, input, count: settings.count } : { kind, input };
}

const FORMATS: string[] = ["png", "webp", "jpeg", "svg"];

/** The form's settings from those of a picture, in the names of jobs. The words of its styles are in its prompts. */
export function settingsOf(
  generation: string,
  prompt: string,
  parameters: Record<string, unknown>,
): Omit<Settings, "count"> {
  const number = (name: string) => (typeof parameters[name] === "number" ? (parameters[name] as number) : null);
  const text = (name: string) => (typeof parameters[name] === "string" ? (parameters[name] as string) : "");
  const format = text("output_format");
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
    format: FORMATS.includes(format) ? (format as OutputFormat) : "png",
    style: "",
    palette: "",
    mood: "",
    ...guidesOf(generation, parameters),
    layout: layoutOf(generation, parameters),
  };
}

/** Takes all settings of a picture into the form, and the picture that it was drawn from. */
export function restore(generation: string, prompt: string, parameters: Record<string, unknown>) {
  form.change(settingsOf(generation, prompt, parameters));
  restoreSource(sourceOf(generation, parameters));
}
