import { createMemoryHistory, createRootRoute, createRouter, RouterProvider } from "@tanstack/react-router";
import { fireEvent, render, screen, waitFor } from "@testing-library/react";
import { useState } from "react";
import { expect, test, vi } from "vitest";
import { type LoraUse, type ReferenceUse, referenceOf } from "../src/pages/create/guides";
import { LoraList } from "../src/pages/create/lora_list";
import { OutpaintEditor } from "../src/pages/create/outpaint_editor";
import { ReferenceList } from "../src/pages/create/reference_list";
import { type Margins, NO_MARGINS } from "../src/pages/create/source";
import { Section } from "../src/ui/controls";

const lora = (name: string, ...families: string[]) => ({ name, families }) as never;

function Loras({ held }: { held: { uses: LoraUse[] } }) {
  const [uses, set] = useState(held.uses);
  held.uses = uses;
  const site = [lora("ink", "guided"), lora("clay", "guided", "other"), lora("foreign", "other")];
  return <LoraList family="guided" loras={site} uses={uses} most={2} mostWeight={4} edit={set} />;
}

/** `uses` are then those that are shown. */
async function shown(uses: LoraUse[]) {
  const held = { uses };
  const routeTree = createRootRoute({ component: () => <Loras held={held} /> });
  const router = createRouter({ routeTree, history: createMemoryHistory() });
  render(<RouterProvider router={router as never} />);
  await screen.findByRole("link", { name: "Add one to this site" });
  return held;
}

const PICTURE = { url: "data:,", width: 256, height: 256, name: "" };

function Growing({ held }: { held: { margins: Margins } }) {
  const [margins, set] = useState(held.margins);
  held.margins = margins;
  return <OutpaintEditor picture={PICTURE} margins={margins} change={set} most={128} mostSide={352} />;
}

test("LoRAs of the model are added, weighed, also below zero, and removed", async () => {
  const held = await shown([{ name: "ink", weight: 1 }]);
  fireEvent.click(screen.getByRole("button", { name: /Add a LoRA/ }));
  expect(screen.getAllByRole("option").map(({ textContent }) => textContent)).toEqual(["clay"]);
  fireEvent.click(screen.getByRole("option", { name: "clay" }));
  expect(held.uses).toEqual([
    { name: "ink", weight: 1 },
    { name: "clay", weight: 1 },
  ]);
  expect(screen.queryByRole("button", { name: /Add a LoRA/ })).toBeNull();
  fireEvent.change(screen.getByRole("slider", { name: "Weight of ink" }), { target: { value: "-0.5" } });
  expect(held.uses[0]).toEqual({ name: "ink", weight: -0.5 });
  fireEvent.click(screen.getByRole("button", { name: "Remove ink" }));
  expect(held.uses).toEqual([{ name: "clay", weight: 1 }]);
});

test("a LoRA of another model is not shown", async () => {
  await shown([{ name: "foreign", weight: 1 }]);
  expect(screen.queryByText("foreign")).toBeNull();
});

test("a picture grows by keys, within the limits, and to a shape", () => {
  const held = { margins: NO_MARGINS };
  render(<Growing held={held} />);
  const left = screen.getByRole("slider", { name: "Grow on the left" });
  fireEvent.keyDown(left, { key: "ArrowLeft" });
  expect(held.margins).toEqual({ ...NO_MARGINS, left: 8 });
  expect(left.getAttribute("aria-valuetext")).toBe("8 pixels");
  fireEvent.keyDown(left, { key: "ArrowLeft", ctrlKey: true });
  fireEvent.keyDown(left, { key: "ArrowLeft", ctrlKey: true });
  expect(held.margins.left).toBe(96);
  fireEvent.keyDown(left, { key: "Home" });
  expect(held.margins).toEqual(NO_MARGINS);
  fireEvent.click(screen.getByRole("button", { name: "9 : 16" }));
  expect(held.margins).toEqual({ left: 0, right: 0, top: 48, bottom: 48 }); // 352 pixels, and not the shape's 455
  fireEvent.click(screen.getByRole("button", { name: "As it is" }));
  expect(held.margins).toEqual(NO_MARGINS);
});

test("an edge is moved at the end of a drag; one that the browser ends, as for a gesture, moves nothing", () => {
  const held = { margins: NO_MARGINS };
  const { container } = render(<Growing held={held} />);
  const stage = container.querySelector(".outpaint") as Element;
  stage.getBoundingClientRect = () => ({ width: 384, height: 384 }) as DOMRect;
  const left = screen.getByRole("slider", { name: "Grow on the left" });
  fireEvent.pointerDown(left, { clientX: 64 });
  fireEvent.pointerMove(left, { clientX: 40 });
  expect(left.getAttribute("aria-valuenow")).toBe("24");
  expect(held.margins.left).toBe(0);
  fireEvent.pointerUp(left);
  expect(held.margins.left).toBe(24);
  fireEvent.pointerDown(left, { clientX: 40 });
  fireEvent.pointerMove(left, { clientX: 16 });
  fireEvent.pointerCancel(left);
  fireEvent.pointerMove(left, { clientX: 0 });
  expect(left.getAttribute("aria-valuenow")).toBe("24");
  expect(held.margins.left).toBe(24);
});

test("a part of the form stays open when what opened it is gone: the focus may be in it", () => {
  const { rerender, container } = render(<Section title="Grow">x</Section>);
  const isOpen = () => container.querySelector("details")?.open;
  expect(isOpen()).toBe(false);
  for (const opened of [true, false]) {
    rerender(
      <Section title="Grow" isOpen={opened}>
        x
      </Section>,
    );
    expect(isOpen()).toBe(true);
  }
});

function References({ held }: { held: { uses: ReferenceUse[] } }) {
  const [uses, set] = useState(held.uses);
  held.uses = uses;
  return <ReferenceList uses={uses} most={4} mostScale={2} scales={[]} edit={set} />;
}

test("what changes while a reference is stored stays changed", async () => {
  const held = { uses: ["Ada", "Bo"].map((name) => referenceOf({ ...PICTURE, name })) };
  let answer = (_: Response) => {};
  vi.spyOn(globalThis, "fetch").mockReturnValue(
    new Promise((resolve) => {
      answer = resolve;
    }),
  );
  render(<References held={held} />);
  fireEvent.click(screen.getAllByRole("button", { name: "Keep among the references" })[0] as Element);
  await waitFor(() => expect(fetch).toHaveBeenCalled());
  fireEvent.click(screen.getByRole("button", { name: "Remove Bo" }));
  const stored = { id: "f1", image_url: "/api/references/f1/image", subject_name: "Ada", width: 8, height: 8 };
  answer(new Response(JSON.stringify(stored), { status: 201, headers: { "Content-Type": "application/json" } }));
  await waitFor(() => expect(held.uses[0]?.picture.referenceId).toBe("f1"));
  expect(held.uses).toHaveLength(1);
});
