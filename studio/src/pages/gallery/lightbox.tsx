// One generation at full size, with everything that can be done with it.
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { local, own, request, send } from "../../api/client";
import { say } from "../../api/mind";
import { useOffer } from "../../api/offer";
import { type Generation, queryClient, useDraw } from "../../api/queries";
import { Button } from "../../ui/controls";
import { PictureView } from "../../ui/picture_view";
import { toast, toastError } from "../../ui/toasts";
import { restore } from "../create/settings";
import { usesOf } from "../create/uses";
import { Described } from "./described";
import { PictureEditor } from "./editor";
import { factsOf, parametersOf } from "./facts";
import { Say } from "./say";
import { Share } from "./share";

const MOST_SUBJECT = 100;

interface Props {
  generation: Generation;
  close: () => void;
  remove: () => void;
  /** Shows what looks like it; absent where pictures are not compared. */
  alike?: () => void;
}

export function Lightbox({ generation, close, remove, alike }: Props) {
  const navigate = useNavigate();
  const add = useDraw();
  const offer = useOffer();
  const [dialog, setDialog] = useState<"edit" | "share">();
  const [first] = generation.results;
  if (!first) return null;
  const isPicture = first.metadata.media_type !== "image/svg+xml";
  const again = () => {
    const parameters = parametersOf(generation);
    restore(generation.id, generation.prompt, { ...parameters, seed: first.metadata.seed ?? parameters.seed });
    navigate({ to: "/" });
  };
  const result = { id: first.id, url: first.image_url, name: generation.prompt };
  const uses = offer.data ? usesOf(result, offer.data, () => navigate({ to: "/" })) : [];
  const queue = async (kind: string, more: Record<string, unknown>, said: string) => {
    try {
      await add.mutateAsync({ kind, input: { result_id: first.id, ...more } });
      toast("success", `It is being ${said}; the result comes into the gallery`);
    } catch (error) {
      toastError(error);
    }
  };
  const keepReference = async () => {
    const picture = await (await send("GET", local(first.image_url))).blob();
    const form = new FormData();
    form.set("image", picture, "reference");
    form.set("subject_name", generation.prompt.slice(0, MOST_SUBJECT) || generation.kind);
    const user = own().user_id;
    if (user) form.set("user_id", String(user));
    await request("POST", "/api/references", { form });
    queryClient.invalidateQueries({ queryKey: ["references"] });
    toast("success", "Kept among the references");
  };
  /** What is saved or shared teaches the recommendations; only drawings do. */
  const tell = (kind: "share" | "download") => {
    if (generation.kind === "illustrate") say(kind, { generationId: generation.id }).catch(() => {});
  };
  if (dialog === "edit") return <PictureEditor generation={generation} close={() => setDialog(undefined)} />;
  if (dialog === "share")
    return (
      <Share
        result={first.id}
        title={generation.prompt || generation.kind}
        onShared={() => tell("share")}
        close={() => setDialog(undefined)}
      />
    );
  return (
    <PictureView
      isOpen
      onClose={close}
      url={local(first.image_url)}
      title={generation.prompt || generation.kind}
      facts={factsOf(generation)}
      onSave={() => tell("download")}
    >
      {generation.kind === "illustrate" && <Say generationId={generation.id} />}
      {generation.kind === "illustrate" && <Button onPress={again}>Take its settings</Button>}
      {isPicture && (
        <>
          {uses.map(({ name, run }) => (
            <Button key={name} onPress={run}>
              {name}
            </Button>
          ))}
          <Button onPress={() => queue("vectorize", {}, "vectorised")}>Vectorise</Button>
          {!!offer.data?.upscalers.length && (
            <Button onPress={() => queue("finish", { upscale: 2 }, "enlarged")}>Upscale</Button>
          )}
          <Button onPress={() => setDialog("edit")}>Edit</Button>
          <Button onPress={() => keepReference().catch(toastError)}>Keep as reference</Button>
        </>
      )}
      {alike && <Button onPress={alike}>More like this</Button>}
      {offer.data?.finds_alike && isPicture && <Described key={first.id} result={first.id} />}
      <Button onPress={() => setDialog("share")}>Share</Button>
      <Button quiet onPress={remove}>
        Delete
      </Button>
    </PictureView>
  );
}
