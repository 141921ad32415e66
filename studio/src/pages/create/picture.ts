// A picture that a drawing uses: a file of this machine, a stored result or reference, or the input of a generation.
import { local, send } from "../../api/client";

export interface Picture {
  /** Where the page shows it from. */
  url: string;
  width: number;
  height: number;
  name: string;
  resultId?: string;
  referenceId?: string;
}

const SIGNED = ["expires", "signature"];

/** Addresses that are kept have no signature: it ends, and pages of this site need none. */
function unsigned(url: string): string {
  const { pathname, searchParams } = new URL(local(url), location.href);
  for (const name of SIGNED) searchParams.delete(name);
  return searchParams.size ? `${pathname}?${searchParams}` : pathname;
}

export async function pictureOfResult(resultId: string, url: string, name = ""): Promise<Picture> {
  const shown = unsigned(url);
  return { url: shown, resultId, name, ...(await sizeOf(shown)) };
}

export function pictureOfReference(one: {
  id: string;
  image_url: string;
  subject_name: string;
  width: number;
  height: number;
}): Picture {
  const { id, image_url, subject_name, width, height } = one;
  return { url: unsigned(image_url), referenceId: id, name: subject_name, width, height };
}

export async function pictureOfFile(file: File): Promise<Picture> {
  const url = await dataUrl(file);
  return { url, name: file.name.replace(/\.\w+$/, ""), ...(await sizeOf(url)) };
}

/** What was drawn from, as the parameters of a generation have it. */
export function pictureOfInput(generation: string, input: { name: string; width: number; height: number }): Picture {
  const url = `/v1/generations/${generation}/inputs/${input.name}`;
  return { url, name: "", width: input.width, height: input.height };
}

/** A stored result by the address of its picture, as browsers drag it. */
export function resultIn(url: string): string | undefined {
  if (!URL.canParse(url, location.href)) return undefined;
  const { origin, pathname } = new URL(url, location.href);
  return origin === location.origin ? /^\/v1\/results\/([^/]+)/.exec(pathname)?.[1] : undefined;
}

/** The fields of a request that name it. Raises a Problem when it is not there any more. */
export async function namedPicture(picture: Picture): Promise<Record<string, string>> {
  if (picture.resultId) return { result_id: picture.resultId };
  if (picture.referenceId) return { reference_id: picture.referenceId };
  return { image: await sentPicture(picture.url) };
}

/** As a data: URL. */
export async function sentPicture(url: string): Promise<string> {
  return isSent(url) ? url : dataUrl(await (await send("GET", url)).blob());
}

/** Whether it is nowhere but in this page: too large to be kept with the form. */
export const isSent = (url: string) => url.startsWith("data:");

export function dataUrl(content: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(content);
  });
}

function sizeOf(url: string): Promise<{ width: number; height: number }> {
  return new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve({ width: image.naturalWidth, height: image.naturalHeight });
    image.onerror = () => reject(new Error("The browser cannot read this picture"));
    image.src = url;
  });
}
