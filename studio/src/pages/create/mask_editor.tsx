// A mask painted over a picture: brush, eraser, undo. The mask has the picture's own pixels, whatever is shown.
import { type PointerEvent, useEffect, useRef, useState } from "react";
import { Button, Range, Segments } from "../../ui/controls";
import type { Source } from "./source";

interface Props {
  source: Source;
  mask: string | null;
  done: (mask: string | null) => void;
}

const MOST_UNDONE = 30;

export function MaskEditor({ source, mask, done }: Props) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [tool, setTool] = useState("brush");
  const [size, setSize] = useState(12);
  const [history, setHistory] = useState<ImageData[]>([]);
  const last = useRef<[number, number]>(undefined);

  useEffect(() => {
    if (!mask) return;
    const image = new Image();
    image.onload = () => {
      const context = canvas.current?.getContext("2d");
      if (!context) return;
      context.drawImage(image, 0, 0);
      shade(context, source);
    };
    image.src = mask;
  }, [mask, source]);

  const position = (event: PointerEvent<HTMLCanvasElement>): [number, number] => {
    const box = event.currentTarget.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * source.width,
      ((event.clientY - box.top) / box.height) * source.height,
    ];
  };
  const context = () => canvas.current?.getContext("2d") as CanvasRenderingContext2D;
  const remember = () => {
    const now = context().getImageData(0, 0, source.width, source.height);
    setHistory((before) => [...before, now].slice(-MOST_UNDONE));
  };
  const stroke = (to: [number, number]) => {
    const on = context();
    on.globalCompositeOperation = tool === "brush" ? "source-over" : "destination-out";
    on.strokeStyle = "#fff";
    on.lineCap = on.lineJoin = "round";
    on.lineWidth = (size / 100) * Math.max(source.width, source.height);
    on.beginPath();
    on.moveTo(...(last.current ?? to));
    on.lineTo(...to);
    on.stroke();
    last.current = to;
  };
  const undo = () => {
    const before = history.at(-1);
    if (!before) return;
    context().putImageData(before, 0, 0);
    setHistory((all) => all.slice(0, -1));
  };
  const all = () => {
    remember();
    const on = context();
    on.globalCompositeOperation = "source-over";
    on.fillStyle = "#fff";
    on.fillRect(0, 0, source.width, source.height);
  };
  const none = () => {
    remember();
    context().clearRect(0, 0, source.width, source.height);
  };
  return (
    <div className="stack">
      <div className="row">
        <Segments
          label="Tool"
          value={tool}
          onChange={setTool}
          options={[
            { id: "brush", name: "Brush" },
            { id: "eraser", name: "Eraser" },
          ]}
        />
        <Range label="Size" value={size} onChange={setSize} min={1} max={50} shown={`${size} %`} />
        <div className="actions">
          <Button onPress={undo} isDisabled={!history.length}>
            Undo
          </Button>
          <Button onPress={all}>All</Button>
          <Button onPress={none}>None</Button>
        </div>
      </div>
      <div className="paint" style={{ aspectRatio: `${source.width} / ${source.height}` }}>
        <img src={source.url} alt="Under the mask" />
        <canvas
          ref={canvas}
          width={source.width}
          height={source.height}
          aria-label="Mask: paint what is to be drawn anew"
          onPointerDown={(event) => {
            event.currentTarget.setPointerCapture(event.pointerId);
            remember();
            stroke(position(event));
          }}
          onPointerMove={(event) => event.buttons && stroke(position(event))}
          onPointerUp={() => {
            last.current = undefined;
          }}
        />
      </div>
      <Button primary onPress={() => done(written(context(), source))}>
        Use this mask
      </Button>
    </div>
  );
}

/** From black and white to transparent and white, as the editor has it. */
function shade(context: CanvasRenderingContext2D, { width, height }: Source) {
  const pixels = context.getImageData(0, 0, width, height);
  for (let at = 0; at < pixels.data.length; at += 4) pixels.data[at + 3] = pixels.data[at] ?? 0;
  context.putImageData(pixels, 0, 0);
}

/** White on black, as a PNG; `null` for an empty mask. */
function written(context: CanvasRenderingContext2D, { width, height }: Source): string | null {
  const painted = context.getImageData(0, 0, width, height);
  if (!painted.data.some((value, at) => at % 4 === 3 && value > 0)) return null;
  const file = document.createElement("canvas");
  [file.width, file.height] = [width, height];
  const on = file.getContext("2d") as CanvasRenderingContext2D;
  on.fillRect(0, 0, width, height);
  on.drawImage(context.canvas, 0, 0);
  return file.toDataURL("image/png");
}
