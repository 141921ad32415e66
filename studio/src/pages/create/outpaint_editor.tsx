// Where a picture grows: its sides as handles that are dragged, or moved by arrow keys.
import { type KeyboardEvent, type PointerEvent, useRef, useState } from "react";
import { Button, NumberInput } from "../../ui/controls";
import { capitalised } from "../../ui/format";
import type { Picture } from "./picture";
import { type Margins, NO_MARGINS, SIDES, type Side } from "./source";

interface Props {
  picture: Picture;
  margins: Margins;
  change: (margins: Margins) => void;
  most: number;
  /** The longest side of the result. */
  mostSide: number;
}

const STEP_PX = 8;
const LARGE_STEP_PX = 64;
/** Of the stage on the screen. */
const MOST_HIGH_PX = 340;
/** Beside the result there is room to drag into: this part of its longer side. */
const ROOM = 0.25;
const PROPORTIONS: [string, number][] = [
  ["Square", 1],
  ["16 : 9", 16 / 9],
  ["9 : 16", 9 / 16],
];

/** What is shown, in pixels of the picture. */
interface Stage {
  left: number;
  top: number;
  width: number;
  height: number;
}

export function OutpaintEditor({ picture, margins: kept, change, most, mostSide }: Props) {
  const stage = useRef<HTMLDivElement>(null);
  const drag = useRef<{ side: Side; at: number; from: number; margins?: Margins }>(undefined);
  const [held, hold] = useState<Stage>();
  /** While an edge is dragged: shown here alone. */
  const [draft, setDraft] = useState<Margins>();
  const margins = draft ?? kept;
  const width = picture.width + margins.left + margins.right;
  const height = picture.height + margins.top + margins.bottom;
  const room = ROOM * Math.max(width, height);
  const shown = held ?? {
    left: margins.left + room,
    top: margins.top + room,
    width: width + 2 * room,
    height: height + 2 * room,
  };
  const set = (side: Side, pixels: number, then = change) => {
    const lies = side === "left" || side === "right";
    const rest = (lies ? width : height) - margins[side];
    const next = Math.round(pixels / STEP_PX) * STEP_PX;
    then({ ...margins, [side]: Math.max(0, Math.min(next, most, mostSide - rest)) });
  };
  /** Pixels of the picture along the axis of `side`. */
  const along = (event: PointerEvent, side: Side) => {
    const frame = (stage.current as HTMLDivElement).getBoundingClientRect();
    return side === "left" || side === "right"
      ? (event.clientX / frame.width) * shown.width
      : (event.clientY / frame.height) * shown.height;
  };
  const move = (event: PointerEvent, side: Side) => {
    const going = drag.current;
    if (going?.side !== side) return;
    const by = along(event, side) - going.at;
    set(side, going.from + (side === "left" || side === "top" ? -by : by), (margins) => {
      going.margins = margins; // the last move may not be rendered yet when the pointer is released
      setDraft(margins);
    });
  };
  const onKey = (event: KeyboardEvent, side: Side) => {
    const step = event.ctrlKey || event.metaKey ? LARGE_STEP_PX : STEP_PX;
    const grows = { left: "ArrowLeft", right: "ArrowRight", top: "ArrowUp", bottom: "ArrowDown" }[side];
    const shrinks = { left: "ArrowRight", right: "ArrowLeft", top: "ArrowDown", bottom: "ArrowUp" }[side];
    if (event.key === grows) set(side, margins[side] + step);
    else if (event.key === shrinks) set(side, margins[side] - step);
    else if (event.key === "Home") set(side, 0);
    else return;
    event.preventDefault();
  };
  /** The least margins, alike on both sides, that make the result of this shape, as far as the limits allow. */
  const shape = (proportion: number) => {
    const margin = (side: number, wanted: number) => {
      const allowed = Math.min(most, Math.floor((mostSide - side) / 2 / STEP_PX) * STEP_PX);
      return Math.max(0, Math.min(allowed, Math.round((wanted - side) / 2 / STEP_PX) * STEP_PX));
    };
    const x = margin(picture.width, picture.height * proportion);
    const y = margin(picture.height, picture.width / proportion);
    change({ left: x, right: x, top: y, bottom: y });
  };
  const end = () => {
    drag.current = undefined;
    hold(undefined);
    setDraft(undefined);
  };
  const finish = () => {
    const next = drag.current?.margins;
    if (next) change(next);
    end();
  };
  const across = (pixels: number) => `${(100 * pixels) / shown.width}%`;
  const down = (pixels: number) => `${(100 * pixels) / shown.height}%`;
  return (
    <div className="stack">
      <div
        ref={stage}
        className="outpaint"
        style={{
          aspectRatio: `${shown.width} / ${shown.height}`,
          width: `min(100%, ${(MOST_HIGH_PX * shown.width) / shown.height}px)`,
        }}
      >
        <div
          className="grown"
          style={{
            left: across(shown.left - margins.left),
            top: down(shown.top - margins.top),
            width: across(width),
            height: down(height),
          }}
        >
          {SIDES.map((side) => (
            <div
              key={side}
              role="slider"
              tabIndex={0}
              className={`edge ${side}`}
              aria-label={`Grow on the ${side}`}
              aria-orientation={side === "left" || side === "right" ? "horizontal" : "vertical"}
              aria-valuemin={0}
              aria-valuemax={most}
              aria-valuenow={margins[side]}
              aria-valuetext={`${margins[side]} pixels`}
              onKeyDown={(event) => onKey(event, side)}
              onPointerDown={(event) => {
                event.currentTarget.setPointerCapture(event.pointerId);
                hold(shown);
                drag.current = { side, at: along(event, side), from: margins[side] };
              }}
              onPointerMove={(event) => move(event, side)}
              onPointerUp={finish}
              onPointerCancel={end}
            />
          ))}
        </div>
        <img
          src={picture.url}
          alt="In the middle of what grows"
          draggable={false}
          style={{
            left: across(shown.left),
            top: down(shown.top),
            width: across(picture.width),
            height: down(picture.height),
          }}
        />
      </div>
      <p className="hint">
        {width} × {height} px. Drag the edges, or move them by the arrow keys.
      </p>
      <div className="actions">
        {PROPORTIONS.map(([name, proportion]) => (
          <Button key={name} onPress={() => shape(proportion)}>
            {name}
          </Button>
        ))}
        <Button quiet onPress={() => change(NO_MARGINS)}>
          As it is
        </Button>
      </div>
      <div className="row sides">
        {SIDES.map((side) => (
          <NumberInput
            key={side}
            label={capitalised(side)}
            value={margins[side]}
            onChange={(pixels) => set(side, pixels ?? 0)}
            min={0}
            max={most}
            step={STEP_PX}
          />
        ))}
      </div>
    </div>
  );
}
