// Style transfer: what the page reads and sends. An SVG takes a palette and stays an SVG.
import { useQuery } from "@tanstack/react-query";
import { local, Problem, request, type Schemas } from "../../api/client";
import { isOver } from "../../api/queries";
import { dataUrl, type Picture } from "../create/picture";

export type Style = Schemas["SiteStyle"];
type Job = Schemas["JobInfo"];

export interface Painted {
  url: string;
  name: string;
  seconds?: number;
}

/** One style of a mixture. */
export interface Use {
  key: string;
  title: string;
  /** Where the page shows it from. */
  url: string;
  /** A style of the site; else the style is that of `file`. */
  name?: string;
  file?: File;
  weight: number;
  /** White where this style alone is painted, as a data URL; `null`: everywhere. */
  mask: string | null;
}

export interface Order {
  file: File;
  uses: Use[];
  strength: number;
  keepsColors: boolean;
  /** 0: in one pass. */
  iterations: number;
}

/** A style with a region of its own is painted over the others; its weight is how much it covers. */
export const MOST_COVERED = 1;

const POLL_MS = 300;

export const useStyles = () =>
  useQuery({
    queryKey: ["style-transfer"],
    queryFn: () => request<Schemas["SiteStylesResponse"]>("GET", "/api/style-transfer/styles"),
    staleTime: 600_000,
  });

/** Whether this site has the engines that paint by optimisation. */
export const useOptimises = () =>
  useQuery({
    queryKey: ["engines", "optimising"],
    queryFn: () => request<Schemas["AiHealthResponse"]>("GET", "/api/ai-health"),
    select: ({ models }) => Object.keys(models).some((name) => name.endsWith("_gradient")),
    staleTime: 600_000,
  });

export function styleUse(style: Style): Use {
  return { key: style.name, name: style.name, title: style.title, url: style.image_url, weight: 1, mask: null };
}

export function ownUse(picture: Picture, file: File): Use {
  return { key: "own", title: picture.name, url: picture.url, file, weight: 1, mask: null };
}

async function sentUse({ name, file, weight, mask }: Use) {
  const origin = name ? { name } : { image: file && (await dataUrl(file)) };
  return mask ? { ...origin, weight: Math.min(weight, MOST_COVERED), mask } : { ...origin, weight };
}

/** `report` is called with the share of the tiles that are painted. Aborting `signal` cancels the job; then null. */
export async function paint(
  order: Order,
  report: (share: number) => void,
  signal: AbortSignal,
): Promise<Painted | null> {
  const { file, uses, strength, keepsColors, iterations } = order;
  const stem = file.name.replace(/\.[^.]*$/, "");
  if (file.type === "image/svg+xml") {
    const body = { svg: await file.text(), style: uses[0]?.name, strength };
    const made = await request<Schemas["SvgStyleResponse"]>("POST", "/api/style-transfer/svg", { body });
    if (signal.aborted) return null;
    return { url: `data:image/svg+xml,${encodeURIComponent(made.svg)}`, name: `${stem}-painted.svg` };
  }
  const styles = await Promise.all(uses.map(sentUse));
  const input = {
    image: await dataUrl(file),
    styles,
    strength,
    preserve_colors: keepsColors,
    ...(iterations ? { iterations } : {}),
  };
  let job = await request<Job>("POST", "/v1/jobs", { body: { kind: "restyle", input } });
  while (!isOver(job)) {
    await new Promise((resume) => setTimeout(resume, POLL_MS));
    if (signal.aborted) {
      await request("POST", `/v1/jobs/${job.id}/cancel`, {});
      return null;
    }
    job = await request<Job>("GET", `/v1/jobs/${job.id}`);
    report(job.progress);
  }
  const [result] = job.results as Schemas["JobFile"][];
  if (job.status !== "completed" || !result) {
    throw new Problem("It was not painted", String(job.error?.detail ?? job.status), 500);
  }
  return { url: local(result.url), name: `${stem}-painted.png`, seconds: job.generation_time_s ?? undefined };
}
