// What a user wants pictures to recall: kept here, taken up where a prompt is improved.
import { useState } from "react";
import { addMemory, deleteMemory, type Memory, useMemories } from "../../api/mind";
import { useOffer } from "../../api/offer";
import { queryClient } from "../../api/queries";
import { Button, Text } from "../../ui/controls";
import { Empty, Failed, Skeletons } from "../../ui/feedback";
import { when } from "../../ui/format";
import { RemoveButton } from "../../ui/remove_button";
import { toastError, undoable } from "../../ui/toasts";

export function Memories() {
  const offer = useOffer();
  const keeps = offer.data?.keeps ?? false;
  const { data, isError, error, refetch } = useMemories(keeps);
  const [hidden, setHidden] = useState<string[]>([]);
  if (offer.data && !keeps) return <Empty title="This site keeps no memories" />;
  const remove = ({ id }: Memory) => {
    setHidden((before) => [...before, id]);
    const restore = () => setHidden((before) => before.filter((other) => other !== id));
    const end = async () => {
      try {
        await deleteMemory(id);
        await queryClient.invalidateQueries({ queryKey: ["memories"] });
      } catch (error) {
        toastError(error);
      }
      restore();
    };
    undoable("Memory deleted", end, restore);
  };
  const shown = data?.memories.filter(({ id }) => !hidden.includes(id)) ?? [];
  return (
    <div className="stack">
      <p className="muted">“Improve”, on the page Create, takes up the memory that is most like the prompt.</p>
      <NewMemory />
      {isError && <Failed error={error} retry={refetch} />}
      {!data && !isError && <Skeletons count={3} className="line" />}
      <ul className="list" aria-label="Memories">
        {shown.map((memory) => (
          <li key={memory.id} className="prompt">
            <div className="grow">
              <p className="text">
                {memory.title && <strong>{memory.title}: </strong>}
                {memory.content}
              </p>
              <p className="muted">{memory.date || when(memory.created_at)}</p>
            </div>
            <RemoveButton label={`Delete: ${memory.title || memory.content}`} onPress={() => remove(memory)} />
          </li>
        ))}
      </ul>
    </div>
  );
}

function NewMemory() {
  const [title, setTitle] = useState("");
  const [content, setContent] = useState("");
  const [isBusy, setBusy] = useState(false);
  const add = async () => {
    setBusy(true);
    try {
      await addMemory(title.trim(), content.trim());
      setTitle("");
      setContent("");
    } catch (error) {
      toastError(error);
    }
    setBusy(false);
  };
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault();
        add();
      }}
    >
      <Text label="Title" value={title} onChange={setTitle} placeholder="Holidays" />
      <Text label="Memory" rows={2} value={content} onChange={setContent} placeholder="The blue boat of my father" />
      <div className="actions">
        <Button type="submit" isDisabled={!content.trim() || isBusy}>
          Keep
        </Button>
      </div>
    </form>
  );
}
