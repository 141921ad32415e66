import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { local, own, request, type Schemas, send } from "../../api/client";
import { useOffer } from "../../api/offer";
import { queryClient, useReferences } from "../../api/queries";
import { Button, Drop, Text } from "../../ui/controls";
import { Empty, Failed, Skeletons } from "../../ui/feedback";
import { RemoveButton } from "../../ui/remove_button";
import { toast, toastError, undoable } from "../../ui/toasts";
import { referenceOf } from "../create/guides";
import { pictureOfReference } from "../create/picture";
import { currentSettings, editGuides, familyOf } from "../create/settings";

/** Pictures of subjects, by name. */
export function References() {
  const references = useReferences();
  const navigate = useNavigate();
  const offer = useOffer();
  const family = familyOf(currentSettings(), offer.data?.families ?? []);
  const [subject, setSubject] = useState("");
  const [hidden, setHidden] = useState<string[]>([]);
  const add = async (files: File[]) => {
    if (!subject.trim()) return toast("error", "Say first who or what the pictures show");
    for (const file of files) {
      const form = new FormData();
      form.set("image", file);
      form.set("subject_name", subject.trim());
      const user = own().user_id;
      if (user) form.set("user_id", String(user));
      try {
        await request("POST", "/api/references", { form });
      } catch (error) {
        toastError(error);
      }
    }
    queryClient.invalidateQueries({ queryKey: ["references"] });
  };
  const remove = (id: string) => {
    setHidden((before) => [...before, id]);
    const restore = () => setHidden((before) => before.filter((other) => other !== id));
    undoable(
      "Reference deleted",
      async () => {
        try {
          await send("DELETE", `/api/references/${id}`, { query: own() });
        } catch (error) {
          toastError(error);
          restore();
        }
      },
      restore,
    );
  };
  const use = (one: Schemas["ReferenceInfo"]) => {
    editGuides("references", (now) => [...now, referenceOf(pictureOfReference(one))]);
    navigate({ to: "/" });
  };
  const shown = references.data?.items.filter(({ id }) => !hidden.includes(id)) ?? [];
  return (
    <div className="page">
      <h1>References</h1>
      <section className="card" aria-labelledby="add">
        <h2 id="add">Add</h2>
        <Text label="Subject" value={subject} onChange={setSubject} placeholder="Ada" maxLength={100} />
        <Drop label="Pictures of the subject" accept={["image/png", "image/jpeg", "image/webp"]} multiple onFiles={add}>
          <p>Drop pictures of this subject here.</p>
        </Drop>
      </section>
      {references.isError && <Failed error={references.error} retry={references.refetch} />}
      <ul className="grid gallery">
        {references.isPending && <Skeletons count={4} />}
        {shown.map((one) => (
          <li key={one.id} className="tile">
            <div className="frame">
              <img src={local(one.thumbnail_url)} alt={one.subject_name} loading="lazy" />
            </div>
            <p className="caption">
              {one.subject_name}
              <span className="muted">
                {one.width} × {one.height}
              </span>
            </p>
            <div className="actions">
              {family?.takes_references && (
                <Button label={`Draw with the reference of ${one.subject_name}`} onPress={() => use(one)}>
                  Use
                </Button>
              )}
              <RemoveButton label={`Delete the reference of ${one.subject_name}`} onPress={() => remove(one.id)}>
                Delete
              </RemoveButton>
            </div>
          </li>
        ))}
      </ul>
      {references.data && shown.length === 0 && (
        <Empty title="No references yet">
          <p>A reference keeps a person, a product or a style the same from picture to picture.</p>
        </Empty>
      )}
    </div>
  );
}
