import { fireEvent, render, screen } from "@testing-library/react";
import { useState } from "react";
import { expect, test, vi } from "vitest";
import { BoxCanvas } from "../src/pages/create/box_canvas";
import type { Box } from "../src/pages/create/layout";

const BOX: Box = { left: 0.2, top: 0.2, width: 0.4, height: 0.4 };

interface Calls {
  boxes: Box[];
  draw?: (box: Box) => void;
  remove: (key: string) => void;
}

function Holder({ calls: { boxes, draw, remove } }: { calls: Calls }) {
  const [box, setBox] = useState(BOX);
  return (
    <BoxCanvas
      size={{ width: 512, height: 256 }}
      shapes={[{ key: "a", name: "Ada", box, mask: null }]}
      selected="a"
      select={() => {}}
      change={(_key, next) => {
        boxes.push(next);
        setBox(next);
      }}
      draw={draw}
      remove={remove}
    />
  );
}

/** 200 x 100 pixels on the screen. */
function shown(draw?: (box: Box) => void) {
  const boxes: Box[] = [];
  const remove = vi.fn();
  const { container } = render(<Holder calls={{ boxes, draw, remove }} />);
  const canvas = screen.getByRole("group", { name: "Layout of the picture" });
  canvas.getBoundingClientRect = () => ({ left: 0, top: 0, width: 200, height: 100 }) as DOMRect;
  const drag = (target: Element, from: [number, number], to: [number, number]) => {
    fireEvent.pointerDown(target, { button: 0, clientX: from[0], clientY: from[1] });
    fireEvent.pointerMove(canvas, { clientX: to[0], clientY: to[1] });
    fireEvent.pointerUp(canvas);
  };
  const handle = (name: string) => container.querySelector(`[data-handle=${name}]`) as Element;
  return { canvas, boxes, remove, drag, handle, face: screen.getByRole("button", { name: /^Ada/ }) };
}

test("arrows move a box, with Shift they resize it, and it stays in the picture", () => {
  const { boxes, face } = shown();
  expect(face.getAttribute("aria-label")).toBe("Ada: left 20 %, top 20 %, 40 % wide, 40 % high");
  fireEvent.keyDown(face, { key: "ArrowRight" });
  expect(boxes.at(-1)).toEqual({ ...BOX, left: 0.21 });
  fireEvent.keyDown(face, { key: "ArrowUp", ctrlKey: true });
  expect(boxes.at(-1)).toEqual({ ...BOX, left: 0.21, top: 0.15 });
  fireEvent.keyDown(face, { key: "ArrowDown", shiftKey: true });
  expect(boxes.at(-1)).toEqual({ left: 0.21, top: 0.15, width: 0.4, height: 0.41 });
  for (let press = 0; press < 30; press += 1) fireEvent.keyDown(face, { key: "ArrowLeft", ctrlKey: true });
  expect(boxes.at(-1)?.left).toBe(0);
  for (let press = 0; press < 30; press += 1)
    fireEvent.keyDown(face, { key: "ArrowRight", ctrlKey: true, shiftKey: true });
  expect(boxes.at(-1)).toMatchObject({ left: 0, width: 1 });
});

test("Delete alone removes a box", () => {
  const { remove, face } = shown();
  fireEvent.keyDown(face, { key: "Backspace" });
  expect(remove).not.toHaveBeenCalled();
  fireEvent.keyDown(face, { key: "Delete" });
  expect(remove).toHaveBeenCalledWith("a");
});

test("the pointer moves a box and its edges", () => {
  const { boxes, drag, handle, face } = shown();
  drag(face, [80, 40], [100, 40]);
  expect(boxes.at(-1)).toEqual({ ...BOX, left: 0.3 });
  expect(document.activeElement).toBe(face);
  drag(handle("se"), [140, 60], [160, 80]);
  expect(boxes.at(-1)).toEqual({ left: 0.3, top: 0.2, width: 0.5, height: 0.6 });
  drag(handle("w"), [60, 50], [20, 50]);
  expect(boxes.at(-1)).toEqual({ left: 0.1, top: 0.2, width: 0.7, height: 0.6 });
});

test("a drag over the ground draws a box, a click does not", () => {
  const draw = vi.fn();
  const { canvas, drag } = shown(draw);
  drag(canvas, [20, 90], [21, 90]);
  expect(draw).not.toHaveBeenCalled();
  drag(canvas, [180, 90], [100, 300]);
  expect(draw).toHaveBeenCalledWith({ left: 0.5, top: 0.9, width: 0.4, height: 0.1 });
});

test("a drag that the browser ends draws nothing", () => {
  const draw = vi.fn();
  const { canvas } = shown(draw);
  fireEvent.pointerDown(canvas, { button: 0, clientX: 20, clientY: 10 });
  fireEvent.pointerMove(canvas, { clientX: 180, clientY: 90 });
  fireEvent.pointerCancel(canvas);
  fireEvent.pointerUp(canvas);
  expect(draw).not.toHaveBeenCalled();
});
