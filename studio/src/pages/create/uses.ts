// What a picture can be used for in the form of the page Create.
import type { Schemas } from "../../api/client";
import { toast, toastError } from "../../ui/toasts";
import { controlOf, referenceOf } from "./guides";
import { type Picture, pictureOfResult } from "./picture";
import { currentSettings, editGuides, familyOf, offered } from "./settings";
import { takeSource } from "./source";

const MOST_NAME = 100;

/** `then` is called once the picture is in the form. */
export function usesOf(
  result: { id: string; url: string; name: string },
  offer: Schemas["OfferResponse"],
  then = () => {},
): { name: string; run: () => void }[] {
  const family = familyOf(currentSettings(), offer.families);
  const most = offer.limits.max_guides;
  const use = (take: (picture: Picture) => void, said: string, list?: "references" | "controls") => ({
    run: async () => {
      const taken = list ? offered(currentSettings(), family)[list].length : 0;
      if (taken >= most) return toast("error", `A drawing takes ${most} of these at most`);
      try {
        take(await pictureOfResult(result.id, result.url, result.name.slice(0, MOST_NAME)));
        toast("success", said);
        then();
      } catch (error) {
        toastError(error);
      }
    },
  });
  const type = family?.controls[0];
  const uses = [];
  if (family?.takes_pictures)
    uses.push({ name: "Draw from it", ...use(takeSource, "The next drawing begins with it") });
  if (family?.takes_references) {
    const add = (picture: Picture) => editGuides("references", (now) => [...now, referenceOf(picture)]);
    uses.push({ name: "Use as reference", ...use(add, "A reference of the next drawing", "references") });
  }
  if (type) {
    const add = (picture: Picture) =>
      editGuides("controls", (now) => [...now, controlOf(picture, type, offer.preprocessors)]);
    uses.push({ name: "Use as control picture", ...use(add, "The next drawing follows it", "controls") });
  }
  return uses;
}
