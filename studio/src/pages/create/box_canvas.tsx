// Boxes over a picture: drawn, moved and resized by pointer, and by keyboard.
import { type KeyboardEvent, type PointerEvent, useRef, useState } from "react";
import { type Box, fitted } from "./layout";

export interface Shape {
  key: string;
  name: string;
  box: Box;
  /** A picture over the whole, in place of a box that can be moved. */
  mask: string | null;
}

interface Props {
  size: { width: number; height: number };
  /** From the lowest layer to the highest. */
  shapes: Shape[];
  selected: string | undefined;
  backdrop?: string;
  select: (key: string) => void;
  /** At the end of a drag, which is shown here alone until then. */
  change: (key: string, box: Box) => void;
  draw: ((box: Box) => void) | undefined;
  remove: (key: string) => void;
}

/** Which sides of a box a handle moves. */
const HANDLES = ["n", "e", "s", "w", "nw", "ne", "se", "sw"] as const;
const STEP = 0.01;
const LARGE_STEP = 0.05;
const LEAST_DRAWN = 0.03;
export const COLOURS = 6;

interface Drag {
  key?: string;
  handle: string;
  x: number;
  y: number;
  from: Box;
  /** Where it is now: the last move may not be rendered yet when the pointer is released. */
  box?: Box;
}

export const percent = (share: number) => `${Math.round(share * 100)} %`;
export const described = ({ left, top, width, height }: Box) =>
  `left ${percent(left)}, top ${percent(top)}, ${percent(width)} wide, ${percent(height)} high`;

export const placeOf = ({ left, top, width, height }: Box) => ({
  left: `${left * 100}%`,
  top: `${top * 100}%`,
  width: `${width * 100}%`,
  height: `${height * 100}%`,
});

export function BoxCanvas({ size, shapes, selected, backdrop, select, change, draw, remove }: Props) {
  const canvas = useRef<HTMLFieldSetElement>(null);
  const drag = useRef<Drag>(undefined);
  const [drawn, setDrawn] = useState<Box>();
  const [moved, setMoved] = useState<{ key: string; box: Box }>();
  const position = (event: PointerEvent): [number, number] => {
    const frame = (canvas.current as HTMLFieldSetElement).getBoundingClientRect();
    return [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
  };
  const begin = (event: PointerEvent<HTMLFieldSetElement>) => {
    if (event.button !== 0) return;
    const target = event.target as HTMLElement;
    const key = target.closest<HTMLElement>("[data-part]")?.dataset.part;
    const shape = shapes.find((one) => one.key === key);
    if (!shape && !draw) return;
    event.preventDefault(); // the focus goes to the box, not to what has the pointer
    target.closest("[data-part]")?.querySelector("button")?.focus();
    const [x, y] = position(event);
    canvas.current?.setPointerCapture(event.pointerId);
    const handle = target.dataset.handle ?? (shape ? "move" : "draw");
    drag.current = { key, handle, x, y, from: shape?.box ?? { left: x, top: y, width: 0, height: 0 } };
    if (shape) select(shape.key);
  };
  const move = (event: PointerEvent<HTMLFieldSetElement>) => {
    const going = drag.current;
    if (!going) return;
    const [x, y] = position(event);
    going.box = going.handle === "draw" ? between(going, x, y) : dragged(going, x - going.x, y - going.y);
    if (going.handle === "draw") setDrawn(going.box);
    else if (going.key) setMoved({ key: going.key, box: going.box });
  };
  const end = () => {
    drag.current = undefined;
    setDrawn(undefined);
    setMoved(undefined);
  };
  const finish = () => {
    const { key, handle, box } = drag.current ?? {};
    if (box && handle !== "draw" && key) change(key, box);
    else if (box && box.width >= LEAST_DRAWN && box.height >= LEAST_DRAWN) draw?.(fitted(box));
    end();
  };
  const shown = shapes.map((shape) => (shape.key === moved?.key ? { ...shape, box: moved.box } : shape));
  return (
    <fieldset
      ref={canvas}
      className="boxes"
      style={{
        aspectRatio: `${size.width} / ${size.height}`,
        width: `min(100%, ${(62 * size.width) / size.height}dvh)`,
      }}
      onPointerDown={begin}
      onPointerMove={move}
      onPointerUp={finish}
      onPointerCancel={end}
      aria-label="Layout of the picture"
    >
      {backdrop && <img src={backdrop} alt="Behind the layout" draggable={false} />}
      {shown.map(({ key, name, box, mask }, index) => (
        <div
          key={key}
          data-part={key}
          className={`box colour-${index % COLOURS}${key === selected ? " selected" : ""}${mask ? " masked" : ""}`}
          style={placeOf(box)}
        >
          {mask && <span className="shape" style={{ maskImage: `url("${mask}")` }} />}
          <button
            type="button"
            className="face"
            aria-pressed={key === selected}
            aria-label={mask ? `${name}: a mask` : `${name}: ${described(box)}`}
            onFocus={() => select(key)}
            onKeyDown={(event) =>
              onKey(
                event,
                box,
                mask !== null,
                (next) => change(key, next),
                () => remove(key),
              )
            }
          >
            <span>{name}</span>
          </button>
          {key === selected &&
            !mask &&
            HANDLES.map((handle) => <span key={handle} data-handle={handle} className={`handle ${handle}`} />)}
        </div>
      ))}
      {drawn && <div className="box drawing" style={placeOf(drawn)} />}
    </fieldset>
  );
}

const within = (value: number) => Math.min(Math.max(value, 0), 1);

/** The box between where the pointer went down and where it is. */
function between({ x, y }: Drag, toX: number, toY: number): Box {
  const [left, right] = [within(Math.min(x, toX)), within(Math.max(x, toX))];
  const [top, bottom] = [within(Math.min(y, toY)), within(Math.max(y, toY))];
  return { left, top, width: right - left, height: bottom - top };
}

/** `from`, moved as a whole or on the sides that the handle names. */
function dragged({ handle, from }: Drag, byX: number, byY: number): Box {
  if (handle === "move") return fitted({ ...from, left: from.left + byX, top: from.top + byY });
  let { left, top } = from;
  let right = left + from.width;
  let bottom = top + from.height;
  if (handle.includes("w")) left = within(left + byX);
  if (handle.includes("e")) right = within(right + byX);
  if (handle.includes("n")) top = within(top + byY);
  if (handle.includes("s")) bottom = within(bottom + byY);
  return fitted({
    left: Math.min(left, right),
    top: Math.min(top, bottom),
    width: Math.abs(right - left),
    height: Math.abs(bottom - top),
  });
}

const ARROWS: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

/** Arrows move, with Shift they resize, with Ctrl by larger steps; Delete removes. */
function onKey(event: KeyboardEvent, box: Box, isFixed: boolean, change: (box: Box) => void, remove: () => void) {
  if (event.key === "Delete") {
    event.preventDefault();
    return remove();
  }
  const arrow = ARROWS[event.key];
  if (!arrow || isFixed) return;
  event.preventDefault();
  const step = event.ctrlKey || event.metaKey ? LARGE_STEP : STEP;
  const [x, y] = [arrow[0] * step, arrow[1] * step];
  if (!event.shiftKey) return change(fitted({ ...box, left: box.left + x, top: box.top + y }));
  const width = Math.min(box.width + x, 1 - box.left);
  const height = Math.min(box.height + y, 1 - box.top);
  change(fitted({ ...box, width, height }));
}
