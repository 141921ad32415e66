// What a version or an arm is measured by, with 95 % confidence intervals.
import type { Schemas } from "../../api/client";
import { percent, seconds } from "../../ui/format";

type Metrics = Schemas["Metrics"];

export const FIGURES: { name: string; of: (metrics: Metrics) => string }[] = [
  { name: "Kept, shared or liked", of: ({ conversion_rate }) => estimated(conversion_rate, percent) },
  { name: "Errors", of: ({ error_rate }) => estimated(error_rate, percent) },
  { name: "Mean stars", of: ({ mean_rating }) => estimated(mean_rating, (value) => value.toFixed(2)) },
  { name: "Mean quality", of: ({ mean_quality }) => estimated(mean_quality, (value) => value.toFixed(3)) },
];

export const TIME = { name: "Mean time", of: ({ mean_time_s }: Metrics) => estimated(mean_time_s, seconds) };

/** With its interval, where there is one. */
function estimated({ value, low, high }: Schemas["Estimate"], shown: (value: number) => string): string {
  if (value === null) return "–";
  return low === null || high === null ? shown(value) : `${shown(value)} (${shown(low)} to ${shown(high)})`;
}
