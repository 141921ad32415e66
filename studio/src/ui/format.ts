export const bytes = (count: number) =>
  count < 1000
    ? `${count} B`
    : count < 1_000_000
      ? `${(count / 1000).toFixed(1)} kB`
      : `${(count / 1_000_000).toFixed(1)} MB`;

export const seconds = (value: number | null | undefined) =>
  value == null
    ? "–"
    : value < 1
      ? `${Math.round(value * 1000)} ms`
      : value < 90
        ? `${value.toFixed(1)} s`
        : `${Math.round(value / 60)} min`;

export const percent = (value: number | null | undefined) => (value == null ? "–" : `${(value * 100).toFixed(1)} %`);

/** Without decimals, for what is set by a person. */
export const share = (value: number) => `${Math.round(value * 100)} %`;

export const number = (value: number) => value.toLocaleString();

export const counted = (value: number, what: string) => `${number(value)} ${what}${value === 1 ? "" : "s"}`;

export const when = (iso: string | null | undefined) =>
  iso ? new Date(iso).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" }) : "–";

const INTERNAL = [
  "prompt",
  "n",
  "output_format",
  "output_compression",
  "metadata",
  "c2pa",
  "image",
  "validate",
  "user_id",
];

/** What a request said and what came of it, for a list of facts: plain values alone, under readable names. */
export function plainFacts(values: Record<string, unknown>): Record<string, string> {
  const shown = Object.entries(values).filter(
    ([name, value]) =>
      !INTERNAL.includes(name) && ["string", "number", "boolean"].includes(typeof value) && value !== "",
  );
  return Object.fromEntries(shown.map(([name, value]) => [name.replaceAll("_", " "), plain(name, value)]));
}

const plain = (name: string, value: unknown) =>
  typeof value !== "number"
    ? String(value)
    : name.endsWith("time")
      ? seconds(value)
      : String(Math.round(value * 1000) / 1000);

export const capitalised = (word: string) => word.charAt(0).toUpperCase() + word.slice(1);
