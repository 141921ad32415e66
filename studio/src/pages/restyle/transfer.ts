// Style transfer: what the page reads and sends. An SVG takes a palette and stays an SVG.
import { useQuery } from "@tanstack/react-query";
import { local, Problem, request, type Schemas } from "../../api/client";
import { isOver } from "../../api/queries";
import { dataUrl } from "../create/picture";

export type Style = Schemas["SiteStyle"];
type Job = Schemas["JobInfo"];

export interface Painted {
  url: string;
  name: string;
  seconds?: number;
}

export interface Order {
  file: File;
  /** By the styles' names; without any, the style is that of the picture `own`. */
  weights: Record<string, number>;
  own?: File;
  strength: number;
  keepsColors: boolean;
}

const POLL_MS = 300;

export const useStyles = () =>
  useQuery({
    queryKey: ["style-transfer"],
    queryFn: () => request<Schemas["SiteStylesResponse"]>("GET", "/api/style-transfer/styles"),
    staleTime: 600_000,
  });

/** `report` is called with the share of the tiles that are painted. Aborting `signal` cancels the job; then null. */
export async function paint(
  order: Order,
  report: (share: number) => void,
  signal: AbortSignal,
): Promise<Painted | null> {
  const { file, weights, own, strength, keepsColors } = order;
  const stem = file.name.replace(/\.[^.]*$/, "");
  const styles = Object.entries(weights).map(([name, weight]) => ({ name, weight }));
  if (file.type === "image/svg+xml") {
    const body = { svg: await file.text(), style: styles[0]?.name, strength };
    const made = await request<Schemas["SvgStyleResponse"]>("POST", "/api/style-transfer/svg", { body });
    if (signal.aborted) return null;
    return { url: `data:image/svg+xml,${encodeURIComponent(made.svg)}`, name: `${stem}-painted.svg` };
  }
  const style = styles.length ? { styles } : { style_image: own && (await dataUrl(own)) };
  const input = { image: await dataUrl(file), strength, preserve_colors: keepsColors, ...style };
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
