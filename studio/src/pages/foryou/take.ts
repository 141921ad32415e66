import { keepSettings, keepWords } from "../create/settings";

/** Takes what was recommended or chosen into the form of the page Create. */
export function take(kind: string, name: string) {
  if (kind === "prompt") keepSettings({ prompt: name });
  else if (kind === "model") keepSettings({ model: name, sampler: "" });
  else if (kind === "sampler") keepSettings({ sampler: name });
  else keepWords(kind === "style" ? name : `${name} colours`);
}
