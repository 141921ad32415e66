import type { Generation } from "../../api/queries";
import { plainFacts, seconds, when } from "../../ui/format";

/** What was asked for, in the names of `POST /v1/jobs`. */
export function parametersOf(generation: Generation): Record<string, unknown> {
  const { options, encoding, more } = (generation.parameters ?? {}) as Record<string, Record<string, unknown>>;
  return { ...options, output_format: encoding?.format, ...more };
}

export function factsOf(generation: Generation): Record<string, string> {
  return {
    made: when(generation.created_at),
    model: generation.model ?? "–",
    time: generation.cached ? "cached" : seconds(generation.generation_time_s),
    ...plainFacts(parametersOf(generation)),
  };
}
