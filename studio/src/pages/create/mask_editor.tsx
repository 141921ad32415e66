// A mask painted over a picture: brush, eraser, undo. The mask has the picture's own pixels, whatever is shown.
import { type PointerEvent, type ReactNode, useEffect, useRef, useState } from "react";
import { Button, Range, Segments } from "../../ui/controls";
import { useEscape, useUndoKeys } from "../../ui/shortcuts";
import { toast } from "../../ui/toasts";
import { type Point, paint, type Size, type Step, type Stroke, shaded, written } from "./mask";

interface Props {
  size: Size;
  /** The picture under it. */
  backdrop?: string;
  /** What else is shown between both. */
  under?: ReactNode;
  mask: string | null;
  /** Pixels of `size` by which its edge is softened, as the drawing will have it. */
  feather: number;
  label: string;
  done: (mask: string | null) => void;
  cancel: () => void;
  children?: ReactNode;
}

function paintAll(on: CanvasRenderingContext2D, base: HTMLCanvasElement | undefined, steps: Step[]) {
  on.globalCompositeOperation = "source-over";
  on.clearRect(0, 0, on.canvas.width, on.canvas.height);
  if (base) on.drawImage(base, 0, 0);
  for (const step of steps) paint(on, step);
}

export function MaskEditor({ size, backdrop, under, mask, feather, label, done, cancel, children }: Props) {
  const { width, height } = size;
  const canvas = useRef<HTMLCanvasElement>(null);
  /** What it was before any step. */
  const base = useRef<HTMLCanvasElement>(undefined);
  const stroke = useRef<Stroke>(undefined);
  const [tool, setTool] = useState<Stroke["tool"]>("brush");
  const [brush, setBrush] = useState(12);
  const [steps, setSteps] = useState<Step[]>([]);
  const painted = useRef(steps);
  painted.current = steps;
  const [undone, setUndone] = useState<Step[]>([]);
  const [scale, setScale] = useState(1);
  const context = () => canvas.current?.getContext("2d") as CanvasRenderingContext2D;

  useEffect(() => {
    if (!mask) return;
    const image = new Image();
    image.onload = () => {
      base.current = shaded(image, { width, height });
      const on = canvas.current?.getContext("2d");
      if (on) paintAll(on, base.current, painted.current);
    };
    image.src = mask;
    return () => {
      image.onload = null;
    };
  }, [mask, width, height]);
  useEffect(() => {
    const shown = canvas.current;
    if (!shown) return;
    const observer = new ResizeObserver(() => setScale(shown.clientWidth / width));
    observer.observe(shown);
    return () => observer.disconnect();
  }, [width]);

  const repaint = (all: Step[]) => paintAll(context(), base.current, all);
  const add = (step: Step) => {
    setSteps((before) => [...before, step]);
    setUndone([]);
  };
  const undo = () => {
    const last = steps.at(-1);
    if (!last) return;
    repaint(steps.slice(0, -1));
    setSteps(steps.slice(0, -1));
    setUndone([...undone, last]);
  };
  const redo = () => {
    const last = undone.at(-1);
    if (!last) return;
    paint(context(), last);
    setSteps([...steps, last]);
    setUndone(undone.slice(0, -1));
  };
  useUndoKeys(undo, redo);
  useEscape(steps.length > 0, () => toast("info", "Use this mask keeps what is painted, Cancel drops it"));
  const whole = (step: "all" | "none" | "invert") => {
    paint(context(), step);
    add(step);
  };
  const position = (event: { clientX: number; clientY: number }): Point => {
    const box = (canvas.current as HTMLCanvasElement).getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  };
  const begin = (event: PointerEvent<HTMLCanvasElement>) => {
    if (event.button !== 0 || stroke.current) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    stroke.current = { tool, width: (brush / 100) * Math.max(width, height), points: [position(event)] };
    paint(context(), stroke.current);
  };
  const move = (event: PointerEvent<HTMLCanvasElement>) => {
    const going = stroke.current;
    if (!going) return;
    const before = going.points.at(-1) as Point;
    const passed = event.nativeEvent.getCoalescedEvents?.() ?? [];
    const points = (passed.length ? passed : [event.nativeEvent]).map(position);
    going.points.push(...points);
    paint(context(), { ...going, points: [before, ...points] });
  };
  const end = () => {
    if (stroke.current) add(stroke.current);
    stroke.current = undefined;
  };
  return (
    <div className="stack">
      <div className="row">
        <Segments
          label="Tool"
          value={tool}
          onChange={(id) => setTool(id as Stroke["tool"])}
          options={[
            { id: "brush", name: "Brush" },
            { id: "eraser", name: "Eraser" },
          ]}
        />
        <Range label="Size" value={brush} onChange={setBrush} min={1} max={50} shown={`${brush} %`} />
        {children}
        <div className="actions">
          <Button onPress={undo} isDisabled={!steps.length}>
            Undo
          </Button>
          <Button onPress={redo} isDisabled={!undone.length}>
            Redo
          </Button>
          <Button onPress={() => whole("all")}>All</Button>
          <Button onPress={() => whole("none")}>None</Button>
          <Button onPress={() => whole("invert")}>Invert</Button>
        </div>
      </div>
      <div
        className="paint"
        style={{ aspectRatio: `${width} / ${height}`, inlineSize: `min(100%, ${(62 * width) / height}dvh)` }}
      >
        {backdrop && <img src={backdrop} alt="Under the mask" />}
        {under && <div>{under}</div>}
        <canvas
          ref={canvas}
          width={width}
          height={height}
          aria-label={label}
          style={{ filter: feather ? `blur(${feather * scale}px)` : undefined }}
          onPointerDown={begin}
          onPointerMove={move}
          onPointerUp={end}
          onPointerCancel={end}
        />
      </div>
      <div className="actions">
        <Button primary onPress={() => done(written(canvas.current as HTMLCanvasElement))}>
          Use this mask
        </Button>
        <Button quiet onPress={cancel}>
          Cancel
        </Button>
      </div>
    </div>
  );
}
