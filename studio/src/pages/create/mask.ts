// What is painted on a mask, step by step: its canvas is white where the mask is, transparent elsewhere.

export type Point = [number, number];

/** All in pixels of the mask. */
export interface Stroke {
  tool: "brush" | "eraser";
  width: number;
  points: Point[];
}

export type Step = Stroke | "all" | "none" | "invert";

export interface Size {
  width: number;
  height: number;
}

export function paint(on: CanvasRenderingContext2D, step: Step) {
  const { width, height } = on.canvas;
  if (step === "none") return on.clearRect(0, 0, width, height);
  if (typeof step === "string") {
    on.globalCompositeOperation = step === "all" ? "source-over" : "xor";
    on.fillStyle = "#fff";
    return on.fillRect(0, 0, width, height);
  }
  on.globalCompositeOperation = step.tool === "brush" ? "source-over" : "destination-out";
  on.strokeStyle = "#fff";
  on.lineCap = on.lineJoin = "round";
  on.lineWidth = step.width;
  const [first, ...rest] = step.points;
  if (!first) return;
  on.beginPath();
  on.moveTo(...first);
  if (!rest.length) on.lineTo(first[0] + 0.01, first[1]); // browsers leave out lines without length, and their caps
  for (const point of rest) on.lineTo(...point);
  on.stroke();
}

/** A stored mask, from black and white to transparent and white. */
export function shaded(image: HTMLImageElement, { width, height }: Size): HTMLCanvasElement {
  const made = sized({ width, height });
  const on = made.getContext("2d") as CanvasRenderingContext2D;
  on.drawImage(image, 0, 0, width, height);
  const pixels = on.getImageData(0, 0, width, height);
  for (let at = 0; at < pixels.data.length; at += 4) pixels.data[at + 3] = pixels.data[at] ?? 0;
  on.putImageData(pixels, 0, 0);
  return made;
}

/** White on black, as a PNG; `null` for an empty mask. */
export function written(canvas: HTMLCanvasElement): string | null {
  const { width, height } = canvas;
  const painted = (canvas.getContext("2d") as CanvasRenderingContext2D).getImageData(0, 0, width, height);
  if (!painted.data.some((value, at) => at % 4 === 3 && value > 0)) return null;
  const file = sized(canvas);
  const on = file.getContext("2d") as CanvasRenderingContext2D;
  on.fillRect(0, 0, width, height);
  on.drawImage(canvas, 0, 0);
  return file.toDataURL("image/png");
}

function sized({ width, height }: Size): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  return canvas;
}
