import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { send } from "../../api/client";
import { type PromptEntry, usePromptFavorite, usePromptHistory, whose } from "../../api/mind";
import { useOffer } from "../../api/offer";
import { queryClient } from "../../api/queries";
import { Button, Text } from "../../ui/controls";
import { copy } from "../../ui/copy";
import { Empty, Failed, Skeletons } from "../../ui/feedback";
import { when } from "../../ui/format";
import { RemoveButton } from "../../ui/remove_button";
import { useSettled } from "../../ui/settled";
import { toastError, undoable } from "../../ui/toasts";

interface Props {
  favorites: boolean;
  use: (prompt: string) => void;
}

/** The prompts that were drawn, the newest first. */
export function History({ favorites, use }: Props) {
  const [search, setSearch] = useState("");
  const q = useSettled(search.trim(), 250);
  const offer = useOffer();
  const found = usePromptHistory({ q, favorite: favorites || undefined }, offer.data?.keeps ?? false);
  const [hidden, setHidden] = useState<string[]>([]);
  const all = (found.data?.pages ?? []).flatMap((page) => page.prompts);
  const shown = all.filter(({ id }) => !hidden.includes(id));
  const others = shown.filter(({ favorite }) => !favorite);

  const remove = (ids: string[], text: string, commit: () => Promise<unknown>) => {
    setHidden((before) => [...before, ...ids]);
    const restore = () => setHidden((before) => before.filter((id) => !ids.includes(id)));
    const end = async () => {
      try {
        await commit();
        await queryClient.invalidateQueries({ queryKey: ["prompts"] });
      } catch (error) {
        toastError(error);
      }
      restore();
    };
    undoable(text, end, restore);
  };
  const removeOne = ({ id }: PromptEntry) =>
    remove([id], "Prompt deleted", () => send("DELETE", `/api/nlp/history/${id}`, { query: whose() }));
  const removeAll = () =>
    remove(
      others.map(({ id }) => id),
      "All but the favourites deleted",
      () => send("DELETE", "/api/nlp/history", { query: { ...whose(), until: others[0]?.created_at } }),
    );

  if (offer.data && !offer.data.keeps) return <Empty title="This site keeps no prompts" />;
  return (
    <div className="stack">
      <div className="row prompts-search">
        <Text label="Search" value={search} onChange={setSearch} placeholder="Words, or what they mean: nature, calm" />
        {!favorites && !q && others.length > 0 && <Button onPress={removeAll}>Delete all but favourites</Button>}
      </div>
      {found.isError && <Failed error={found.error} retry={found.refetch} />}
      <ul className="list" aria-label={favorites ? "Favourite prompts" : "Prompts"}>
        {found.isPending && <Skeletons count={5} className="line" />}
        {shown.map((entry) => (
          <Entry key={entry.id} entry={entry} use={() => use(entry.prompt)} remove={() => removeOne(entry)} />
        ))}
      </ul>
      {found.data && shown.length === 0 && <None isSearch={q !== ""} favorites={favorites} />}
      {found.hasNextPage && (
        <Button onPress={() => found.fetchNextPage()} isDisabled={found.isFetchingNextPage}>
          Show more
        </Button>
      )}
    </div>
  );
}

function None({ isSearch, favorites }: { isSearch: boolean; favorites: boolean }) {
  if (isSearch) return <Empty title="No prompt has these words" />;
  if (favorites)
    return (
      <Empty title="No favourites yet">
        <p>Press the star of a prompt in the history, and it stays here.</p>
      </Empty>
    );
  return (
    <Empty title="No prompts yet">
      <p>Every prompt that you draw is kept here.</p>
      <Link to="/" className="button plain">
        Draw something
      </Link>
    </Empty>
  );
}

const CATEGORIES = ["styles", "moods", "colors", "lighting", "textures", "compositions"] as const;
const MOST_CHIPS = 8;

function Entry({ entry, use, remove }: { entry: PromptEntry; use: () => void; remove: () => void }) {
  const { id, prompt, analysis, favorite } = entry;
  const change = usePromptFavorite();
  const keywords = CATEGORIES.flatMap((category) => analysis.keywords[category].map(({ name }) => name));
  const names = [...new Set([...analysis.concepts.map(({ name }) => name), ...keywords])].slice(0, MOST_CHIPS);
  return (
    <li className="prompt">
      <div className="grow">
        <p className="text">{prompt}</p>
        <p className="chips">
          {names.map((name) => (
            <span key={name} className="chip">
              {name}
            </span>
          ))}
          <span className="muted">{when(entry.created_at)}</span>
        </p>
      </div>
      <div className="actions">
        <Button label={`Use: ${prompt}`} onPress={use}>
          Use
        </Button>
        <Button
          quiet
          label={`Favourite: ${prompt}`}
          pressed={favorite}
          onPress={() => change.mutate({ id, favorite: !favorite }, { onError: toastError })}
        >
          {favorite ? "★" : "☆"}
        </Button>
        <Button quiet label={`Copy: ${prompt}`} onPress={() => copy(prompt)}>
          Copy
        </Button>
        <RemoveButton label={`Delete: ${prompt}`} onPress={remove} />
      </div>
    </li>
  );
}
