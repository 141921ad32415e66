// The part of a picture that is kept: a box drawn over it by pointer, or typed.
import { type PointerEvent, useRef } from "react";
import { Button, NumberInput } from "../../ui/controls";
import { capitalised } from "../../ui/format";

export interface Box {
  left: number;
  top: number;
  width: number;
  height: number;
}

interface Props {
  url: string;
  size: { width: number; height: number };
  box: Box | null;
  setBox: (box: Box | null) => void;
}

const PROPORTIONS: [string, number][] = [
  ["1 : 1", 1],
  ["4 : 3", 4 / 3],
  ["3 : 4", 3 / 4],
  ["16 : 9", 16 / 9],
];
const percent = (part: number, whole: number) => `${(100 * part) / whole}%`;

export function CropBox({ url, size, box, setBox }: Props) {
  const origin = useRef<[number, number]>(undefined);
  const whole = { left: 0, top: 0, ...size };
  const shown = box ?? whole;
  const within = (value: number, most: number) => Math.min(Math.max(Math.round(value), 0), most);
  const position = (event: PointerEvent<HTMLDivElement>): [number, number] => {
    const frame = event.currentTarget.getBoundingClientRect();
    return [
      within(((event.clientX - frame.left) / frame.width) * size.width, size.width),
      within(((event.clientY - frame.top) / frame.height) * size.height, size.height),
    ];
  };
  const drag = (event: PointerEvent<HTMLDivElement>) => {
    const [x, y] = position(event);
    const [from, above] = origin.current ?? [x, y];
    const next = {
      left: Math.min(x, from),
      top: Math.min(y, above),
      width: Math.abs(x - from),
      height: Math.abs(y - above),
    };
    if (next.width >= 1 && next.height >= 1) setBox(next);
  };
  /** The largest box of these proportions, in the middle. */
  const shape = (proportion: number) => {
    const width = Math.round(Math.min(size.width, size.height * proportion));
    const height = Math.max(1, Math.round(Math.min(size.height, width / proportion)));
    setBox({
      left: Math.floor((size.width - width) / 2),
      top: Math.floor((size.height - height) / 2),
      width,
      height,
    });
  };
  const change = (name: keyof Box, value: number | null) => {
    const next = { ...shown, [name]: value ?? whole[name] };
    next.left = within(next.left, size.width - 1);
    next.top = within(next.top, size.height - 1);
    next.width = Math.max(1, within(next.width, size.width - next.left));
    next.height = Math.max(1, within(next.height, size.height - next.top));
    setBox(next);
  };
  return (
    <div className="stack">
      <div
        className="cropping"
        style={{
          aspectRatio: `${size.width} / ${size.height}`,
          width: `min(100%, ${(60 * size.width) / size.height}dvh)`,
        }}
        onPointerDown={(event) => {
          event.currentTarget.setPointerCapture(event.pointerId);
          origin.current = position(event);
        }}
        onPointerMove={(event) => event.buttons > 0 && drag(event)}
        onPointerUp={() => {
          origin.current = undefined;
        }}
      >
        <img src={url} alt="The whole" draggable={false} />
        <div
          className="cropped"
          style={{
            left: percent(shown.left, size.width),
            top: percent(shown.top, size.height),
            width: percent(shown.width, size.width),
            height: percent(shown.height, size.height),
          }}
        />
      </div>
      <div className="actions">
        {PROPORTIONS.map(([name, proportion]) => (
          <Button key={name} onPress={() => shape(proportion)}>
            {name}
          </Button>
        ))}
        <Button quiet onPress={() => setBox(null)} isDisabled={!box}>
          Everything
        </Button>
      </div>
      <div className="row">
        {(["left", "top", "width", "height"] as const).map((name) => (
          <NumberInput
            key={name}
            label={`${capitalised(name)}, px`}
            value={shown[name]}
            onChange={(value) => change(name, value)}
            min={name === "width" || name === "height" ? 1 : 0}
          />
        ))}
      </div>
    </div>
  );
}
