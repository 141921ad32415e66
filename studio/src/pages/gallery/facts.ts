import type { Generation } from "../../api/queries";
import { plainFacts, seconds, when } from "../../ui/format";

export function factsOf(generation: Generation): Record<string, string> {
  return {
    made: when(generation.created_at),
    model: generation.model ?? "–",
    time: generation.cached ? "cached" : seconds(generation.generation_time_s),
    ...plainFacts({ ...(generation.parameters as object | null) }),
  };
}
