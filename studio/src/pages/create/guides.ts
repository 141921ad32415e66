// What guides a drawing beside its prompt: LoRAs, references, control pictures.
import { newKey } from "../../api/queries";
import { isSent, namedPicture, type Picture, pictureOfInput } from "./picture";

export interface LoraUse {
  name: string;
  weight: number;
}

export interface ReferenceUse {
  key: string;
  picture: Picture;
  weight: number;
  scale: number;
  /** `null`: as scale. */
  styleScale: number | null;
  contentScale: number | null;
}

export interface ControlUse {
  key: string;
  picture: Picture;
  type: string;
  preprocessor: string;
  scale: number;
  start: number;
  end: number;
  fit: string;
}

export interface Guides {
  loras: LoraUse[];
  references: ReferenceUse[];
  controls: ControlUse[];
}

/** Of a list as it is then: a picture may be read, or stored, while the list changes. */
export type Edit<T> = (edit: (now: T[]) => T[]) => void;

export const NO_GUIDES: Guides = { loras: [], references: [], controls: [] };

export const referenceOf = (picture: Picture): ReferenceUse => ({
  key: newKey(),
  picture,
  weight: 1,
  scale: 0.6,
  styleScale: null,
  contentScale: null,
});

/** With the preprocessor that makes what the ControlNet was trained with, where there is one of its name. */
export const controlOf = (picture: Picture, type: string, preprocessors: string[]): ControlUse => ({
  key: newKey(),
  picture,
  type,
  preprocessor: preprocessors.includes(type) ? type : "none",
  scale: 1,
  start: 0,
  end: 1,
  fit: "crop",
});

/** Without the files of this machine, which are too large to be kept. */
export const keptGuides = ({ loras, references, controls }: Guides): Guides => ({
  loras,
  references: references.filter(({ picture }) => !isSent(picture.url)),
  controls: controls.filter(({ picture }) => !isSent(picture.url)),
});

/** The fields of a drawing's input. */
export async function guideFields({ loras, references, controls }: Guides): Promise<Record<string, unknown>> {
  const fields: Record<string, unknown> = {};
  if (loras.length) fields.loras = loras;
  if (references.length) fields.references = await Promise.all(references.map(referenceField));
  if (controls.length) fields.controls = await Promise.all(controls.map(controlField));
  return fields;
}

const referenceField = async ({ picture, weight, scale, styleScale, contentScale }: ReferenceUse) => ({
  ...(await namedPicture(picture)),
  weight,
  scale,
  ...(styleScale === null ? {} : { style_scale: styleScale }),
  ...(contentScale === null ? {} : { content_scale: contentScale }),
});

const controlField = async ({ picture, type, preprocessor, scale, start, end, fit }: ControlUse) => ({
  ...(await namedPicture(picture)),
  type,
  preprocessor,
  scale,
  start,
  end,
  fit,
});

type Stored = Record<string, unknown> & { picture: { name: string; width: number; height: number } };

/** From the parameters of a generation. */
export function guidesOf(generation: string, parameters: Record<string, unknown>): Guides {
  const list = <T>(name: string) => (parameters[name] ?? []) as T[];
  const number = (value: unknown) => (typeof value === "number" ? value : null);
  return {
    loras: list<LoraUse>("loras").map(({ name, weight }) => ({ name, weight })),
    references: list<Stored>("references").map((one) => ({
      ...referenceOf(pictureOfInput(generation, one.picture)),
      weight: number(one.weight) ?? 1,
      scale: number(one.scale) ?? 0.6,
      styleScale: number(one.style_scale),
      contentScale: number(one.content_scale),
    })),
    controls: list<Stored>("controls").map((one) => ({
      key: newKey(),
      picture: pictureOfInput(generation, one.picture),
      type: String(one.type),
      preprocessor: String(one.preprocessor ?? "none"),
      scale: number(one.scale) ?? 1,
      start: number(one.start) ?? 0,
      end: number(one.end) ?? 1,
      fit: String(one.fit ?? "crop"),
    })),
  };
}
