// Where things are in a drawing: regions with prompts of their own, subjects by name, relationships between these.
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { request, type Schemas } from "../../api/client";
import { newKey } from "../../api/queries";
import { isSent, sentPicture } from "./picture";

/** In fractions of the picture's width and height. */
export interface Box {
  left: number;
  top: number;
  width: number;
  height: number;
}

export interface Part {
  key: string;
  kind: "region" | "subject";
  /** Of a subject. */
  name: string;
  prompt: string;
  negativePrompt: string;
  /** `null`: of a subject that its relationships place, or of a region that is a mask. */
  box: Box | null;
  /** Where the page shows it from. */
  mask: string | null;
  weight: number;
  /** `null`: what the stack takes by itself. */
  feather: number | null;
}

export interface Relationship {
  key: string;
  /** Keys of subjects. */
  subject: string;
  relation: string;
  object: string;
}

/** The parts from the lowest layer to the highest; subjects lie below regions. */
export interface Layout {
  parts: Part[];
  relationships: Relationship[];
}

export const NO_LAYOUT: Layout = { parts: [], relationships: [] };
export const WEIGHT = 0.8;
const LEAST_SIDE = 0.02;

export const newPart = (kind: Part["kind"], box: Box | null, name = ""): Part => ({
  key: newKey(),
  kind,
  name,
  prompt: "",
  negativePrompt: "",
  box,
  mask: null,
  weight: WEIGHT,
  feather: null,
});

const within = (value: number, low: number, high: number) => Math.min(Math.max(value, low), high);
const rounded = (value: number) => Math.round(value * 10_000) / 10_000;

/** `box` inside of the picture, with sides that can be seen. */
export function fitted({ left, top, width, height }: Box): Box {
  const wide = within(width, LEAST_SIDE, 1);
  const high = within(height, LEAST_SIDE, 1);
  return {
    left: rounded(within(left, 0, 1 - wide)),
    top: rounded(within(top, 0, 1 - high)),
    width: rounded(wide),
    height: rounded(high),
  };
}

/** What is missing before it can be drawn. */
export function lacks(part: Part): string | null {
  if (part.kind === "subject") return part.name.trim() ? null : "needs a name";
  return part.prompt.trim() ? null : "needs a prompt";
}

const isWhole = (part: Part) => lacks(part) === null;

function subjectField(part: Part): Record<string, unknown> {
  const field: Record<string, unknown> = { name: part.name.trim(), weight: part.weight };
  if (part.prompt.trim()) field.prompt = part.prompt.trim();
  return withRest(field, part);
}

async function regionField(part: Part): Promise<Record<string, unknown>> {
  const field = withRest({ prompt: part.prompt.trim(), weight: part.weight }, part);
  return part.mask ? { ...field, mask: await sentPicture(part.mask) } : field;
}

function withRest(field: Record<string, unknown>, { negativePrompt, box, feather }: Part) {
  if (negativePrompt.trim()) field.negative_prompt = negativePrompt.trim();
  if (box) field.box = box;
  if (feather !== null) field.feather = feather;
  return field;
}

function subjectFields({ parts, relationships }: Layout): Record<string, unknown> {
  const subjects = parts.filter((part) => part.kind === "subject" && isWhole(part));
  const names = new Map(subjects.map(({ key, name }) => [key, name.trim()]));
  const related = relationships
    .filter(({ subject, object }) => names.has(subject) && names.has(object))
    .map(({ subject, relation, object }) => ({ subject: names.get(subject), relation, object: names.get(object) }));
  if (!subjects.length) return {};
  return { subjects: subjects.map(subjectField), ...(related.length ? { relationships: related } : {}) };
}

/** The fields of a drawing's input, without parts that lack something. */
export async function layoutFields(layout: Layout): Promise<Record<string, unknown>> {
  const regions = layout.parts.filter((part) => part.kind === "region" && isWhole(part));
  return {
    ...subjectFields(layout),
    ...(regions.length ? { regions: await Promise.all(regions.map(regionField)) } : {}),
  };
}

/** Characters of a painted mask that a browser keeps with the form. */
const MOST_KEPT = 100_000;

/** Without masks that are large, and nowhere but in this page. */
export const keptLayout = ({ parts, relationships }: Layout): Layout => ({
  parts: parts.filter(({ mask }) => !mask || !isSent(mask) || mask.length <= MOST_KEPT),
  relationships,
});

interface StoredRegion {
  name?: string;
  prompt: string;
  negative_prompt?: string;
  box?: Box;
  mask?: { name: string };
  weight?: number;
  feather?: number;
}

/** From the parameters of a generation; its subjects stay where they were. */
export function layoutOf(generation: string, parameters: Record<string, unknown>): Layout {
  const parts = ((parameters.regions ?? []) as StoredRegion[]).map(
    (one): Part => ({
      ...newPart(one.name ? "subject" : "region", one.box ?? null, one.name),
      prompt: one.prompt === one.name ? "" : one.prompt,
      negativePrompt: one.negative_prompt ?? "",
      mask: one.mask ? `/v1/generations/${generation}/inputs/${one.mask.name}` : null,
      weight: one.weight ?? WEIGHT,
      feather: one.feather ?? null,
    }),
  );
  const keys = new Map(parts.filter(({ kind }) => kind === "subject").map(({ name, key }) => [name, key]));
  const relationships = ((parameters.relationships ?? []) as { subject: string; relation: string; object: string }[])
    .map(({ subject, relation, object }) => ({
      key: newKey(),
      subject: keys.get(subject) ?? "",
      relation,
      object: keys.get(object) ?? "",
    }))
    .filter(({ subject, object }) => subject && object);
  return { parts, relationships };
}

export interface Placed {
  part: Part;
  box: Box;
}

/** The parts that have a place, from the lowest layer to the highest; `placed` are the stack's boxes of subjects. */
export function placedParts({ parts }: Layout, placed: Schemas["PlacedBox"][] = []): Placed[] {
  const order = placed.map(({ name }) => name);
  const layer = ({ name }: Part) => order.indexOf(name.trim());
  const subjects = parts.filter(({ kind }) => kind === "subject").sort((one, other) => layer(one) - layer(other));
  const regions = parts.filter(({ kind }) => kind === "region");
  return [...subjects, ...regions].flatMap((part) => {
    const found = part.kind === "subject" ? placed.find(({ name }) => name === part.name.trim()) : undefined;
    const box = part.mask ? { left: 0, top: 0, width: 1, height: 1 } : (part.box ?? found);
    return box ? [{ part, box: { left: box.left, top: box.top, width: box.width, height: box.height } }] : [];
  });
}

const WAIT_MS = 200;

/** Where the stack places the subjects, a moment after they have changed. After an error they stay where they were. */
export function usePlaced(layout: Layout, size: { width: number; height: number }) {
  const last = useRef<Schemas["PlacedBox"][]>([]);
  const wanted = JSON.stringify({ ...subjectFields(layout), ...size });
  const [settled, setSettled] = useState(wanted);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(wanted), WAIT_MS);
    return () => clearTimeout(timer);
  }, [wanted]);
  const { data, error } = useQuery({
    queryKey: ["layout", settled],
    queryFn: () =>
      request<Schemas["PreviewResponse"]>("POST", "/api/illustrations/preview", { body: JSON.parse(settled) }),
    enabled: layout.parts.some((part) => part.kind === "subject" && isWhole(part)),
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
    placeholderData: (before) => before,
  });
  if (data) last.current = data.boxes;
  return { boxes: last.current, error };
}
