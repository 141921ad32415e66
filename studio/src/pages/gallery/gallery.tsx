// Everything that was made: filtered, searched, compared, taken away.
import { useNavigate } from "@tanstack/react-router";
import { useDeferredValue, useEffect, useRef, useState } from "react";
import { local, own, request, send, withQuery } from "../../api/client";
import { useOffer } from "../../api/offer";
import { type GalleryFilter, type Generation, queryClient, useDraw, useFavorite, useGallery } from "../../api/queries";
import { Button, Choice, LinkButton, Text, Toggle } from "../../ui/controls";
import { Empty, Failed, Skeletons } from "../../ui/feedback";
import { PictureView } from "../../ui/picture_view";
import { toast, toastError, undoable } from "../../ui/toasts";
import { keepSettings, settingsOf } from "../create/settings";
import { keepSource } from "../create/source";
import { ComparePictures } from "./compare_pictures";
import { factsOf } from "./facts";

const KINDS = [
  { id: "", name: "Everything" },
  { id: "illustrate", name: "Drawings" },
  { id: "vectorize", name: "Vectorised" },
  { id: "prompt_to_svg", name: "Drawn as SVG" },
];
const ORDERS = [
  { id: "newest", name: "Newest" },
  { id: "oldest", name: "Oldest" },
  { id: "rating", name: "Best rated" },
];
const MOST_COMPARED = 4;

export function Gallery() {
  const [filter, setFilter] = useState<GalleryFilter>({ sort: "newest" });
  const [search, setSearch] = useState("");
  const q = useDeferredValue(search.trim());
  const gallery = useGallery({ ...filter, q });
  const offer = useOffer();
  const [opened, setOpened] = useState<Generation>();
  const [chosen, setChosen] = useState<Generation[]>([]);
  const [comparing, setComparing] = useState(false);
  const [hidden, setHidden] = useState<string[]>([]);
  const all = (gallery.data?.pages ?? []).flatMap((page) => page.generations);
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
  const choose = (one: Generation) =>
    setChosen((before) => (before.includes(one) ? before.filter((other) => other !== one) : [...before, one]));

  return (
    <div className="page">
      <h1>Gallery</h1>
      <div className="filters">
        <Text label="Search" value={search} onChange={setSearch} placeholder="Words of the prompt" />
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
        <Choice
          label="Order"
          value={filter.sort ?? "newest"}
          onChange={(sort) => setFilter({ ...filter, sort })}
          options={ORDERS}
        />
        <Toggle
          label="Favourites"
          value={filter.favorite ?? false}
          onChange={(favorite) => setFilter({ ...filter, favorite: favorite || undefined })}
        />
      </div>
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
      <ul className="grid gallery">
        {gallery.isPending && <Skeletons count={12} />}
        {shown.map((one) => (
          <Thumbnail
            key={one.id}
            generation={one}
            isChosen={chosen.includes(one)}
            choose={() => choose(one)}
            open={() => setOpened(one)}
          />
        ))}
      </ul>
      {gallery.data && shown.length === 0 && (
        <Empty title={q || filter.favorite || filter.kind ? "Nothing matches" : "No pictures yet"}>
          <p>
            {q || filter.favorite || filter.kind
              ? "Fewer filters show more."
              : "What you draw and vectorise is kept here."}
          </p>
        </Empty>
      )}
      <More more={gallery.hasNextPage && !gallery.isFetchingNextPage} load={gallery.fetchNextPage} />
      {opened && <Lightbox generation={opened} close={() => setOpened(undefined)} remove={() => remove([opened])} />}
      <ComparePictures generations={chosen} isOpen={comparing} close={() => setComparing(false)} />
    </div>
  );
}

/** Loads the next page before its end is reached. */
function More({ more, load }: { more: boolean; load: () => void }) {
  const mark = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!more || !mark.current) return;
    const observer = new IntersectionObserver(([entry]) => entry?.isIntersecting && load(), { rootMargin: "1200px" });
    observer.observe(mark.current);
    return () => observer.disconnect();
  }, [more, load]);
  return <div ref={mark} />;
}

interface ThumbnailProps {
  generation: Generation;
  isChosen: boolean;
  choose: () => void;
  open: () => void;
}

function Thumbnail({ generation, isChosen, choose, open }: ThumbnailProps) {
  const favorite = useFavorite();
  const [first] = generation.results;
  const name = generation.prompt || generation.kind;
  if (!first) return null;
  const thumbnail = local(first.thumbnail_url);
  return (
    <li className={isChosen ? "tile chosen" : "tile"}>
      <button type="button" className="frame" onClick={open} aria-label={`Open: ${name}`}>
        <img
          src={withQuery(thumbnail, { size: 256 })}
          srcSet={`${withQuery(thumbnail, { size: 256 })} 1x, ${withQuery(thumbnail, { size: 512 })} 2x`}
          alt={name}
          loading="lazy"
          decoding="async"
        />
      </button>
      <div className="corner">
        <Button
          quiet
          label={`Favourite: ${name}`}
          pressed={generation.favorite}
          onPress={() =>
            favorite.mutate({ id: generation.id, favorite: !generation.favorite }, { onError: toastError })
          }
        >
          {generation.favorite ? "♥" : "♡"}
        </Button>
        <Button quiet label={`Choose: ${name}`} pressed={isChosen} onPress={choose}>
          {isChosen ? "☑" : "☐"}
        </Button>
      </div>
      <p className="caption ellipsis" title={name}>
        {name}
      </p>
    </li>
  );
}

function Lightbox({ generation, close, remove }: { generation: Generation; close: () => void; remove: () => void }) {
  const navigate = useNavigate();
  const add = useDraw();
  const [first] = generation.results;
  if (!first) return null;
  const parameters = (generation.parameters ?? {}) as Record<string, unknown>;
  const again = () => {
    keepSettings(settingsOf(generation.prompt, { ...parameters, seed: first.metadata.seed ?? parameters.seed }));
    navigate({ to: "/" });
  };
  const begin = () => {
    keepSource(first.id, first.image_url);
    again();
  };
  const vectorise = async () => {
    try {
      await add.mutateAsync({ kind: "vectorize", input: { result_id: first.id } });
      toast("success", "It is being vectorised; the result comes into the gallery");
    } catch (error) {
      toastError(error);
    }
  };
  const share = async () => {
    const { url } = await request<{ url: string }>("GET", `/v1/results/${first.id}/metadata`);
    await navigator.clipboard.writeText(url);
    toast("success", "Link copied");
  };
  return (
    <PictureView
      isOpen
      onClose={close}
      url={local(first.image_url)}
      title={generation.prompt || generation.kind}
      facts={factsOf(generation)}
    >
      {generation.kind !== "vectorize" && <Button onPress={again}>Take its settings</Button>}
      {first.metadata.media_type !== "image/svg+xml" && (
        <>
          <Button onPress={begin}>Draw from it</Button>
          <Button onPress={vectorise}>Vectorise</Button>
        </>
      )}
      <Button onPress={share}>Copy link</Button>
      <Button quiet onPress={remove}>
        Delete
      </Button>
    </PictureView>
  );
}
