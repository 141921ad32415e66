// The picture that a drawing starts from, and how it is used. Kept while the studio is open.
import { store } from "../../ui/store";
import { namedPicture, type Picture, pictureOfInput, sentPicture } from "./picture";

export interface Use {
  strength: number;
  /** A picture's address: white is drawn anew. */
  mask: string | null;
  maskBlur: number;
  maskFill: string;
  maskCrop: boolean;
  outpaint: Margins;
}

export const SIDES = ["left", "top", "right", "bottom"] as const;
export type Side = (typeof SIDES)[number];
export type Margins = Record<Side, number>;
export const NO_MARGINS: Margins = { left: 0, top: 0, right: 0, bottom: 0 };

export const AS_IT_IS: Use = {
  strength: 0.7,
  mask: null,
  maskBlur: 4,
  maskFill: "original",
  maskCrop: false,
  outpaint: NO_MARGINS,
};

export interface Source {
  picture: Picture | null;
  use: Use;
}

export const NO_SOURCE: Source = { picture: null, use: AS_IT_IS };
const source = store<Source>(() => NO_SOURCE);

export const useSource = source.use;
export const takeSource = (picture: Picture | null) => source.change({ picture, use: AS_IT_IS });
export const restoreSource = source.change;
export const changeUse = (change: Partial<Use>) => source.change({ use: { ...source.get().use, ...change } });

/** The fields of a drawing's input. */
export async function sourceFields({ picture, use }: Source): Promise<Record<string, unknown>> {
  if (!picture) return {};
  const fields: Record<string, unknown> = await namedPicture(picture);
  const grows = SIDES.some((side) => use.outpaint[side] > 0);
  if (grows) fields.outpaint = use.outpaint;
  if (use.mask) {
    const mask = await sentPicture(use.mask);
    Object.assign(fields, { mask, mask_blur: use.maskBlur, mask_fill: use.maskFill });
    if (use.maskCrop && !grows) fields.mask_crop = true;
  }
  if (!grows) fields.strength = use.strength;
  return fields;
}

interface StoredSource {
  image: { name: string; width: number; height: number };
  mask?: { name: string } | null;
  strength?: number;
  mask_blur?: number;
  mask_fill?: string;
  mask_crop?: boolean;
  outpaint?: Margins;
}

/** From the parameters of a generation. */
export function sourceOf(generation: string, parameters: Record<string, unknown>): Source {
  const stored = parameters.source as StoredSource | null | undefined;
  if (!stored) return NO_SOURCE;
  return {
    picture: pictureOfInput(generation, stored.image),
    use: {
      strength: stored.strength ?? AS_IT_IS.strength,
      mask: stored.mask ? `/v1/generations/${generation}/inputs/${stored.mask.name}` : null,
      maskBlur: stored.mask_blur ?? AS_IT_IS.maskBlur,
      maskFill: stored.mask_fill ?? AS_IT_IS.maskFill,
      maskCrop: stored.mask_crop ?? false,
      outpaint: { ...NO_MARGINS, ...stored.outpaint },
    },
  };
}
