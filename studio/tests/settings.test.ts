import { expect, test, vi } from "vitest";
import { controlOf, referenceOf } from "../src/pages/create/guides";
import { layoutOf, newPart, placedParts } from "../src/pages/create/layout";
import { resultIn } from "../src/pages/create/picture";
import {
  currentSettings,
  DEFAULTS,
  drawnSize,
  drawnSteps,
  editGuides,
  type Family,
  jobOf,
  keepSettings,
  offered,
  type Settings,
  settingsOf,
} from "../src/pages/create/settings";
import { AS_IT_IS, NO_SOURCE, sourceOf } from "../src/pages/create/source";

const FILE = { url: "data:image/png;base64,YQ==", width: 64, height: 48, name: "apple" };
const STORED = { url: "/v1/results/r1", width: 64, height: 64, name: "pear", resultId: "r1" };
const KEPT = { url: "/api/references/f1/image", width: 64, height: 64, name: "Bella", referenceId: "f1" };
const BOX = { left: 0.1, top: 0.2, width: 0.3, height: 0.4 };
const FAMILY = {
  name: "guided",
  width: 256,
  height: 256,
  min_px: 64,
  max_px: 512,
  multiple_of_px: 8,
  takes_loras: true,
  takes_references: true,
  controls: ["canny"],
} as Family;
const LORA = { name: "ink", families: ["guided"] } as never;

function guided(): Settings {
  const [ada, bo] = [newPart("subject", null, "Ada"), { ...newPart("subject", BOX, "Bo"), prompt: "a boy" }];
  const region = { ...newPart("region", BOX), prompt: "a kite", negativePrompt: "flat", feather: 3 };
  return {
    ...DEFAULTS,
    prompt: " a garden ",
    count: 1,
    loras: [{ name: "ink", weight: -0.5 }],
    references: [{ ...referenceOf(KEPT), styleScale: 1.2 }, referenceOf(FILE)],
    controls: [{ ...controlOf(STORED, "canny", ["none", "canny"]), start: 0.1, end: 0.9 }],
    layout: {
      parts: [ada, bo, region, newPart("region", BOX)],
      relationships: [{ key: "1", subject: ada.key, relation: "left of", object: bo.key }],
    },
  };
}

test("a job names everything that guides it, and leaves out what is not finished", async () => {
  const { kind, input } = (await jobOf(guided(), 7, NO_SOURCE)) as { kind: string; input: Record<string, unknown> };
  expect(kind).toBe("illustrate");
  expect(input).toEqual({
    prompt: "a garden",
    seed: 7,
    output_format: "png",
    loras: [{ name: "ink", weight: -0.5 }],
    references: [
      { reference_id: "f1", weight: 1, scale: 0.6, style_scale: 1.2 },
      { image: FILE.url, weight: 1, scale: 0.6 },
    ],
    controls: [{ result_id: "r1", type: "canny", preprocessor: "canny", scale: 1, start: 0.1, end: 0.9, fit: "crop" }],
    subjects: [
      { name: "Ada", weight: 0.8 },
      { name: "Bo", prompt: "a boy", weight: 0.8, box: BOX },
    ],
    relationships: [{ subject: "Ada", relation: "left of", object: "Bo" }],
    regions: [{ prompt: "a kite", negative_prompt: "flat", weight: 0.8, box: BOX, feather: 3 }],
  });
});

test("what a model does not take is neither kept nor sent", () => {
  const plain = { ...FAMILY, takes_loras: false, takes_references: false, controls: [] };
  expect(offered(guided(), plain, [LORA])).toMatchObject({ loras: [], references: [], controls: [] });
  expect(offered(guided(), FAMILY, [LORA]).loras).toHaveLength(1);
  expect(offered(guided(), FAMILY, []).loras).toHaveLength(0);
  expect(offered(guided(), FAMILY, undefined).loras).toHaveLength(1);
});

test("what a model does not take stays for the others when its lists change", () => {
  keepSettings({ loras: [{ name: "foreign", weight: 1 }] });
  editGuides("loras", (now) => [...now, { name: "ink", weight: 0.5 }]);
  expect(currentSettings().loras.map(({ name }) => name)).toEqual(["foreign", "ink"]);
});

test("a dragged address is a stored result, or nothing", () => {
  expect(resultIn("/v1/results/r1?expires=1&signature=x")).toBe("r1");
  for (const other of ["https://elsewhere.example/v1/results/r1", "/v1/styles", "http://"])
    expect(resultIn(other)).toBeUndefined();
});

test("all settings of a picture come back into the form", async () => {
  const input = (name: string) => ({ name: `${name.repeat(64)}.png`, width: 64, height: 48 });
  const parameters = {
    negative_prompt: "flat",
    model: "guided",
    width: null,
    num_inference_steps: 9,
    seed: 7,
    output_format: "webp",
    loras: [{ name: "ink", weight: -0.5, object: "x" }],
    references: [{ picture: input("a"), weight: 0.7, scale: 0.6, style_scale: 1.2 }],
    controls: [
      { picture: input("b"), type: "canny", preprocessor: "none", scale: 0.4, start: 0.1, end: 0.9, fit: "pad" },
    ],
    regions: [
      { name: "Ada", prompt: "Ada", box: BOX, weight: 0.8 },
      { prompt: "a kite", negative_prompt: "dark", mask: input("c"), weight: 0.5, feather: 3 },
    ],
    relationships: [{ subject: "Ada", relation: "left of", object: "nobody" }],
    source: { image: input("d"), mask: input("e"), strength: 0.9, mask_blur: 2, mask_fill: "noise", mask_crop: true },
  };
  const taken = settingsOf("g1", "a garden", parameters);
  expect(taken).toMatchObject({
    negativePrompt: "flat",
    steps: 9,
    width: null,
    seed: 7,
    lockSeed: true,
    format: "webp",
  });
  expect(taken.loras).toEqual([{ name: "ink", weight: -0.5 }]);
  expect(taken.references[0]).toMatchObject({ weight: 0.7, styleScale: 1.2, contentScale: null });
  expect(taken.references[0]?.picture.url).toBe(`/v1/generations/g1/inputs/${"a".repeat(64)}.png`);
  expect(taken.controls[0]).toMatchObject({ type: "canny", scale: 0.4, start: 0.1, end: 0.9, fit: "pad" });
  const [ada, kite] = taken.layout.parts;
  expect(ada).toMatchObject({ kind: "subject", name: "Ada", prompt: "", box: BOX });
  expect(kite).toMatchObject({ kind: "region", prompt: "a kite", negativePrompt: "dark", box: null, feather: 3 });
  expect(kite?.mask).toContain("/inputs/ccc");
  expect(taken.layout.relationships).toEqual([]);
  expect(sourceOf("g1", parameters).use).toMatchObject({
    strength: 0.9,
    maskBlur: 2,
    maskFill: "noise",
    maskCrop: true,
  });

  const content = new Blob(["x"], { type: "image/png" });
  vi.spyOn(globalThis, "fetch").mockResolvedValue({ ok: true, status: 200, blob: async () => content } as Response);
  const sent = await jobOf({ ...DEFAULTS, ...taken, count: 1 }, 7, sourceOf("g1", parameters));
  const fields = sent.input as Record<string, Record<string, unknown>[]> & { image: string; mask: string };
  for (const url of [fields.image, fields.mask, fields.references?.[0]?.image, fields.regions?.[0]?.mask])
    expect(url).toMatch(/^data:image\/png;base64,/);
});

test("a picture that grows has no strength, and the drawing its shape", async () => {
  const use = { ...AS_IT_IS, outpaint: { left: 64, top: 0, right: 0, bottom: 0 } };
  const { input } = (await jobOf({ ...DEFAULTS, prompt: "x", count: 1 }, 7, { picture: STORED, use })) as never as {
    input: Record<string, unknown>;
  };
  expect(input).toMatchObject({ result_id: "r1", outpaint: use.outpaint });
  expect(input).not.toHaveProperty("strength");
  expect(drawnSize(DEFAULTS, FAMILY, { picture: STORED, use })).toEqual({ width: 128, height: 64 });
  expect(drawnSize(DEFAULTS, FAMILY, { picture: { ...STORED, width: 2000, height: 1000 }, use: AS_IT_IS })).toEqual({
    width: 512,
    height: 256,
  });
  expect(drawnSize({ ...DEFAULTS, width: 96 }, FAMILY, NO_SOURCE)).toEqual({ width: 96, height: 256 });
});

test("subjects lie where the stack places them, unless they were moved, and regions above them", () => {
  const layout = layoutOf("g1", { regions: [{ prompt: "a kite", box: BOX }] });
  const [ada, bo] = [newPart("subject", null, "Ada"), newPart("subject", BOX, "Bo")];
  const stack = { kind: "subject" as const, left: 0.5, top: 0.5, width: 0.5, height: 0.5 };
  const boxes = [
    { ...stack, name: "Bo", layer: 0 },
    { ...stack, name: "Ada", layer: 1 },
  ];
  const placed = placedParts({ ...layout, parts: [...layout.parts, ada, bo] }, boxes);
  expect(placed.map(({ part }) => part.name || part.prompt)).toEqual(["Bo", "Ada", "a kite"]);
  expect(placed.map(({ box }) => box.left)).toEqual([0.1, 0.5, 0.1]);
});

test("steps and guidance are those that the stack takes where the form says nothing", () => {
  const usual = {
    num_inference_steps: 20,
    guidance_scale: 3,
    sampler: "flow_euler",
    long_step_samplers: [],
    few_steps: null,
  };
  const family = { ...FAMILY, ...usual } as Family;
  const taught = { ...family, few_steps: 4, long_step_samplers: ["euler", "flow_euler"] } as Family;
  const drawn = (change: Partial<Settings>, one = taught, source = NO_SOURCE) =>
    Object.values(drawnSteps({ ...DEFAULTS, ...change }, one, source));
  expect(drawn({}, family)).toEqual([20, 3]);
  expect(drawn({})).toEqual([4, 1]);
  expect(drawn({ steps: 4, negativePrompt: "rain" })).toEqual([4, 1]);
  for (const change of [{ negativePrompt: "rain" }, { sampler: "heun" }, { style: "ink" }]) {
    expect(drawn(change)).toEqual([20, 3]);
  }
  expect(drawn({ guidance: 5 })).toEqual([20, 5]);
  expect(drawn({}, taught, { picture: STORED, use: AS_IT_IS })).toEqual([20, 3]);
});
