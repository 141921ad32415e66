// Everything that was made: filtered, searched, compared, taken away.
import { Link } from "@tanstack/react-router";
import { useCallback, useState } from "react";
import { own, send, withQuery } from "../../api/client";
import { useOffer } from "../../api/offer";
import { type GalleryFilter, type Generation, type Like, queryClient, useAlike, useGallery } from "../../api/queries";
import { Button, Choice, LinkButton, Segments, Text, Toggle } from "../../ui/controls";
import { Empty, Failed, Skeletons } from "../../ui/feedback";
import { useSettled } from "../../ui/settled";
import { toastError, undoable } from "../../ui/toasts";
import { WindowedGrid } from "../../ui/windowed_grid";
import { ComparePictures } from "./compare_pictures";
import { Lightbox } from "./lightbox";
import { Thumbnail } from "./thumbnail";

const KINDS = [
  { id: "", name: "Everything" },
  { id: "illustrate", name: "Drawings" },
  { id: "vectorize", name: "Vectorised" },
  { id: "restyle", name: "Restyled" },
  { id: "edit", name: "Edited" },
  { id: "finish", name: "Enlarged" },
];
const AGES = [
  { id: "", name: "Any time" },
  { id: "1", name: "Last 24 hours" },
  { id: "7", name: "Last 7 days" },
  { id: "30", name: "Last 30 days" },
  { id: "365", name: "Last 365 days" },
];
const daysAgo = (days: string) => new Date(Date.now() - Number(days) * 86_400_000).toISOString();
const ORDERS = [
  { id: "newest", name: "Newest" },
  { id: "oldest", name: "Oldest" },
  { id: "rating", name: "Best rated" },
];
const SEARCHES = [
  { id: "words", name: "Words" },
  { id: "shows", name: "What it shows" },
];
const MOST_COMPARED = 4;
const LEAST_TILE_PX = 160; // two beside each other on a telephone
const CAPTION_PX = 32;

export function Gallery() {
  const [filter, setFilter] = useState<GalleryFilter>({ sort: "newest" });
  const [search, setSearch] = useState("");
  const q = useSettled(search.trim(), 250);
  const [age, setAge] = useState("");
  const [searched, setSearched] = useState("words");
  const [model, setModel] = useState<Generation>();
  const like: Like | undefined = model
    ? { result_id: model.results[0]?.id }
    : searched === "shows" && q
      ? { text: q }
      : undefined;
  const pages = useGallery({ ...filter, q: like ? "" : q }, !like);
  const alike = useAlike(filter, like);
  const gallery = like ? alike : pages;
  const offer = useOffer();
  const [opened, setOpened] = useState<Generation>();
  const [chosen, setChosen] = useState<Generation[]>([]);
  const [comparing, setComparing] = useState(false);
  const [hidden, setHidden] = useState<string[]>([]);
  const all = like ? (alike.data ?? []) : (pages.data?.pages ?? []).flatMap((page) => page.generations);
  const shown = all.filter((one) => one.results.length > 0 && !hidden.includes(one.id));
  const models = [
    { id: "", name: "Every model" },
    ...(offer.data?.families ?? []).map(({ name }) => ({ id: name, name })),
  ];

  const remove = (removed: Generation[]) => {
    const ids = removed.map(({ id }) => id);
    setOpened(undefined);
    setChosen([]);
    setHidden((before) => [...before, ...ids]);
    const restore = () => setHidden((before) => before.filter((id) => !ids.includes(id)));
    undoable(
      ids.length > 1 ? `${ids.length} pictures deleted` : "Picture deleted",
      async () => {
        try {
          await Promise.all(ids.map((id) => send("DELETE", `/v1/generations/${id}`, { query: own() })));
          queryClient.invalidateQueries({ queryKey: ["gallery"] });
        } catch (error) {
          restore();
          toastError(error);
        }
      },
      restore,
    );
  };
  const showAlike = (generation: Generation) => {
    setOpened(undefined);
    setSearch("");
    setModel(generation);
  };
  const choose = useCallback(
    (one: Generation) =>
      setChosen((before) => {
        const rest = before.filter(({ id }) => id !== one.id);
        return rest.length < before.length ? rest : [...before, one];
      }),
    [],
  );
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = pages;
  const more = useCallback(() => {
    if (!like && hasNextPage && !isFetchingNextPage) fetchNextPage();
  }, [like, hasNextPage, isFetchingNextPage, fetchNextPage]);
  const isFiltered = !!(q || like || filter.favorite || filter.kind || filter.model || filter.since);
  const showAll = () => {
    setFilter({ sort: filter.sort });
    setAge("");
    setSearch("");
    setModel(undefined);
  };

  return (
    <div className="page">
      <h1>Gallery</h1>
      <div className="filters">
        <Text
          label="Search"
          value={search}
          onChange={(text) => {
            setSearch(text);
            setModel(undefined);
          }}
          placeholder={searched === "shows" ? "What pictures show" : "Words of the prompt"}
        />
        {offer.data?.finds_alike && (
          <Segments label="Search in" value={searched} onChange={setSearched} options={SEARCHES} />
        )}
        <Choice
          label="Kind"
          value={filter.kind ?? ""}
          onChange={(kind) => setFilter({ ...filter, kind })}
          options={KINDS}
        />
        <Choice
          label="Model"
          value={filter.model ?? ""}
          onChange={(model) => setFilter({ ...filter, model })}
          options={models}
        />
        {!like && (
          <>
            <Choice
              label="Made"
              value={age}
              onChange={(days) => {
                setAge(days);
                setFilter({ ...filter, since: days ? daysAgo(days) : undefined });
              }}
              options={AGES}
            />
            <Choice
              label="Order"
              value={filter.sort ?? "newest"}
              onChange={(sort) => setFilter({ ...filter, sort })}
              options={ORDERS}
            />
          </>
        )}
        <Toggle
          label="Favourites"
          value={filter.favorite ?? false}
          onChange={(favorite) => setFilter({ ...filter, favorite: favorite || undefined })}
        />
      </div>
      {model && (
        <div className="actions selection">
          <span>Like “{model.prompt || model.kind}”, the most alike first</span>
          <Button quiet onPress={() => setModel(undefined)}>
            Show everything
          </Button>
        </div>
      )}
      {chosen.length > 0 && (
        <div className="actions selection">
          <span>{chosen.length} chosen</span>
          <Button isDisabled={chosen.length < 2 || chosen.length > MOST_COMPARED} onPress={() => setComparing(true)}>
            Compare
          </Button>
          <LinkButton
            href={withQuery("/v1/generations/download", { ids: chosen.map(({ id }) => id).join(",") })}
            download=""
          >
            Save as ZIP
          </LinkButton>
          <Button onPress={() => remove(chosen)}>Delete</Button>
          <Button quiet onPress={() => setChosen([])}>
            Choose none
          </Button>
        </div>
      )}
      {gallery.isError && <Failed error={gallery.error} retry={gallery.refetch} />}
      {gallery.isPending && (
        <ul className="grid gallery">
          <Skeletons count={12} />
        </ul>
      )}
      <WindowedGrid
        items={shown}
        least={LEAST_TILE_PX}
        below={CAPTION_PX}
        end={more}
        render={(one, place) => (
          <Thumbnail
            key={one.id}
            generation={one}
            isChosen={chosen.some(({ id }) => id === one.id)}
            choose={choose}
            open={setOpened}
            {...place}
          />
        )}
      />
      {gallery.data && !gallery.isPlaceholderData && shown.length === 0 && (
        <Empty title={isFiltered ? "Nothing matches" : "No pictures yet"}>
          <p>{isFiltered ? "Fewer filters show more." : "What you draw and vectorise is kept here."}</p>
          {isFiltered ? (
            <Button onPress={showAll}>Clear all filters</Button>
          ) : (
            <Link to="/" className="button plain">
              Draw something
            </Link>
          )}
        </Empty>
      )}
      {opened && (
        <Lightbox
          generation={opened}
          close={() => setOpened(undefined)}
          remove={() => remove([opened])}
          alike={offer.data?.finds_alike ? () => showAlike(opened) : undefined}
        />
      )}
      <ComparePictures generations={chosen} isOpen={comparing} close={() => setComparing(false)} />
    </div>
  );
}
