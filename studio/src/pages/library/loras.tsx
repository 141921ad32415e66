import { useState } from "react";
import { request, send } from "../../api/client";
import { queryClient, useLoras, useSession } from "../../api/queries";
import { Drop, Text } from "../../ui/controls";
import { Failed } from "../../ui/feedback";
import { bytes, when } from "../../ui/format";
import { RemoveButton } from "../../ui/remove_button";
import { Table } from "../../ui/table";
import { toast, toastError, undoable } from "../../ui/toasts";

/** The LoRAs of the site: everybody draws with them, who added one may remove it. */
export function Loras() {
  const loras = useLoras(true);
  const session = useSession();
  const [name, setName] = useState("");
  const [isAdding, setAdding] = useState(false);
  const [hidden, setHidden] = useState<string[]>([]);
  const add = async ([file]: File[]) => {
    if (!file) return;
    const form = new FormData();
    form.set("file", file);
    if (name.trim()) form.set("name", name.trim());
    setAdding(true);
    try {
      const added = await request<{ name: string; families: string[] }>("POST", "/v1/loras", { form });
      toast("success", `${added.name} is added, for ${added.families.join(", ")}`);
      setName("");
      queryClient.invalidateQueries({ queryKey: ["loras"] });
    } catch (error) {
      toastError(error);
    } finally {
      setAdding(false);
    }
  };
  const remove = (removed: string) => {
    setHidden((before) => [...before, removed]);
    const restore = () => setHidden((before) => before.filter((other) => other !== removed));
    undoable(
      `${removed} removed`,
      async () => {
        try {
          await send("DELETE", `/v1/loras/${encodeURIComponent(removed)}`);
          await queryClient.invalidateQueries({ queryKey: ["loras"] });
        } catch (error) {
          toastError(error);
        }
        restore();
      },
      restore,
    );
  };
  const mayRemove = (user: string) => user === session.data?.user_id || session.data?.scopes.includes("admin");
  const shown = loras.data?.items.filter((one) => !hidden.includes(one.name)) ?? [];
  return (
    <section className="card" aria-labelledby="loras">
      <h2 id="loras">LoRAs</h2>
      {loras.isError && <Failed error={loras.error} retry={loras.refetch} />}
      {loras.data && shown.length === 0 && (
        <p className="muted">None yet. A LoRA gives a model a style or a subject.</p>
      )}
      {shown.length > 0 && (
        <Table
          label="LoRAs"
          head={["Name", "Models", "Rank", "Size", "Added by", "Added", "Action"]}
          rows={shown.map((one) => [
            one.name,
            one.name,
            one.families.join(", "),
            String(one.rank),
            bytes(one.bytes),
            one.user_id,
            when(one.created_at),
            mayRemove(one.user_id) && (
              <RemoveButton key="remove" label={`Remove ${one.name}`} onPress={() => remove(one.name)}>
                Remove
              </RemoveButton>
            ),
          ])}
        />
      )}
      <Text
        label="Name of the next one"
        value={name}
        onChange={setName}
        placeholder="that of its file"
        maxLength={64}
      />
      <Drop label="A LoRA's file" accept={[".safetensors"]} onFiles={add}>
        <p>
          {isAdding
            ? "It is checked…"
            : "Drop a .safetensors file here, as diffusers, PEFT or kohya's scripts write it. It can be drawn with at once."}
        </p>
      </Drop>
    </section>
  );
}
