// The picture that a drawing starts from: a file of this machine, or a stored result.
import { useState } from "react";
import { local } from "../../api/client";

export interface Source {
  /** Where the page shows it from. */
  url: string;
  width: number;
  height: number;
  resultId?: string;
  /** A data: URL, of a file. */
  data?: string;
}

export interface Use {
  strength: number;
  /** A PNG as a data: URL: white is drawn anew. */
  mask: string | null;
  maskBlur: number;
  maskFill: string;
  maskCrop: boolean;
  outpaint: Record<Side, number>;
}

export const SIDES = ["left", "top", "right", "bottom"] as const;
export type Side = (typeof SIDES)[number];

export const AS_IT_IS: Use = {
  strength: 0.7,
  mask: null,
  maskBlur: 4,
  maskFill: "original",
  maskCrop: false,
  outpaint: { left: 0, top: 0, right: 0, bottom: 0 },
};

const KEPT = "create.source";

/** For the page Create, when it opens next. */
export function keepSource(resultId: string, url: string) {
  sessionStorage.setItem(KEPT, JSON.stringify({ resultId, url: local(url) }));
}

export function useSource() {
  const [source, setSource] = useState<Source>();
  const [use, setUse] = useState<Use>(AS_IT_IS);
  const take = (taken: Source | undefined) => {
    setSource(taken);
    setUse(AS_IT_IS);
  };
  return { source, use, take, change: (change: Partial<Use>) => setUse((before) => ({ ...before, ...change })) };
}

/** The stored result that another page has chosen, once. */
export async function keptSource(): Promise<Source | undefined> {
  const kept = sessionStorage.getItem(KEPT);
  sessionStorage.removeItem(KEPT);
  if (!kept) return undefined;
  const { resultId, url } = JSON.parse(kept);
  return sourceOfResult(resultId, url);
}

export async function sourceOfResult(resultId: string, url: string): Promise<Source> {
  return { url, resultId, ...(await sizeOf(url)) };
}

export async function sourceOfFile(file: File): Promise<Source> {
  const data = await new Promise<string>((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
  return { url: data, data, ...(await sizeOf(data)) };
}

function sizeOf(url: string): Promise<{ width: number; height: number }> {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve({ width: image.naturalWidth, height: image.naturalHeight });
    image.onerror = () => reject(new Error("This is no picture that the browser can read"));
    image.src = url;
  });
}

/** The fields of a drawing's input. */
export function inputOf(source: Source | undefined, use: Use): Record<string, unknown> {
  if (!source) return {};
  const input: Record<string, unknown> = source.resultId ? { result_id: source.resultId } : { image: source.data };
  const grows = SIDES.some((side) => use.outpaint[side] > 0);
  if (grows) input.outpaint = use.outpaint;
  if (use.mask) Object.assign(input, { mask: use.mask, mask_blur: use.maskBlur, mask_fill: use.maskFill });
  if (use.mask && use.maskCrop) input.mask_crop = true;
  if (!grows) input.strength = use.strength;
  return input;
}
