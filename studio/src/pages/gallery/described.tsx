// What a picture shows, in the words of the captioning models.
import { useState } from "react";
import { request, type Schemas } from "../../api/client";
import { Button } from "../../ui/controls";
import { copy } from "../../ui/copy";
import { toastError } from "../../ui/toasts";

const LEAST_LIKELY = 0.2;

export function Described({ result }: { result: string }) {
  const [isBusy, setBusy] = useState(false);
  const [found, setFound] = useState<Schemas["CaptionedPicture"]>();
  const describe = async () => {
    setBusy(true);
    try {
      setFound(await request("POST", "/api/captions", { body: { result_id: result } }));
    } catch (error) {
      toastError(error);
    } finally {
      setBusy(false);
    }
  };
  if (!found)
    return (
      <Button onPress={describe} isDisabled={isBusy}>
        {isBusy ? "Looking at it…" : "Describe"}
      </Button>
    );
  const likely = found.tags.filter(({ probability }) => probability >= LEAST_LIKELY);
  return (
    <section className="stack described" aria-label="Description">
      <p role="status">{found.caption || "No model knows a word for it."}</p>
      <div className="chips">
        {likely.map(({ category, name }) => (
          <span key={`${category} ${name}`} className="chip" title={category}>
            {name}
          </span>
        ))}
      </div>
      {found.caption && (
        <Button quiet onPress={() => copy(found.caption, "Description")}>
          Copy description
        </Button>
      )}
    </section>
  );
}
