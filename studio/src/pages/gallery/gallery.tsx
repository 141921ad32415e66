// Everything that was made: filtered, searched, compared, taken away.
import { useNavigate } from "@tanstack/react-router";
import { type CSSProperties, memo, useCallback, useDeferredValue, useState } from "react";
import { local, own, request, send, withQuery } from "../../api/client";
import { say } from "../../api/mind";
import { useOffer } from "../../api/offer";
import { type GalleryFilter, type Generation, queryClient, useDraw, useFavorite, useGallery } from "../../api/queries";
import { Button, Choice, LinkButton, Text, Toggle } from "../../ui/controls";
import { Empty, Failed, Skeletons } from "../../ui/feedback";
import { PictureView } from "../../ui/picture_view";
import { toast, toastError, undoable } from "../../ui/toasts";
import { WindowedGrid } from "../../ui/windowed_grid";
import { restore } from "../create/settings";
import { usesOf } from "../create/uses";
import { ComparePictures } from "./compare_pictures";
import { PictureEditor } from "./editor";
import { factsOf, parametersOf } from "./facts";
import { Say } from "./say";
import { Share } from "./share";

const KINDS = [
  { id: "", name: "Everything" },
  { id: "illustrate", name: "Drawings" },
  { id: "vectorize", name: "Vectorised" },
  { id: "edit", name: "Edited" },
];
const ORDERS = [
  { id: "newest", name: "Newest" },
  { id: "oldest", name: "Oldest" },
  { id: "rating", name: "Best rated" },
];
const MOST_COMPARED = 4;
const MOST_SUBJECT = 100;
const LEAST_TILE_PX = 180;
const CAPTION_PX = 32;

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
  const choose = useCallback(
    (one: Generation) =>
      setChosen((before) => {
        const rest = before.filter(({ id }) => id !== one.id);
        return rest.length < before.length ? rest : [...before, one];
      }),
    [],
  );
  const { hasNextPage, isFetchingNextPage, fetchNextPage } = gallery;
  const more = useCallback(() => {
    if (hasNextPage && !isFetchingNextPage) fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage]);

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
      {gallery.data && shown.length === 0 && (
        <Empty title={q || filter.favorite || filter.kind ? "Nothing matches" : "No pictures yet"}>
          <p>
            {q || filter.favorite || filter.kind
              ? "Fewer filters show more."
              : "What you draw and vectorise is kept here."}
          </p>
        </Empty>
      )}
      {opened && <Lightbox generation={opened} close={() => setOpened(undefined)} remove={() => remove([opened])} />}
      <ComparePictures generations={chosen} isOpen={comparing} close={() => setComparing(false)} />
    </div>
  );
}

interface ThumbnailProps {
  generation: Generation;
  isChosen: boolean;
  choose: (generation: Generation) => void;
  open: (generation: Generation) => void;
  style: CSSProperties;
  position: number;
}

/** Whether it looks the same: while the grid is scrolled, most of its pictures do. */
const isSame = ({ style, ...one }: ThumbnailProps, { style: otherStyle, ...other }: ThumbnailProps) =>
  JSON.stringify(style) === JSON.stringify(otherStyle) &&
  (Object.keys(one) as (keyof typeof one)[]).every((name) => one[name] === other[name]);

const Thumbnail = memo(function Thumbnail({ generation, isChosen, choose, open, style, position }: ThumbnailProps) {
  const favorite = useFavorite();
  const [first] = generation.results;
  const name = generation.prompt || generation.kind;
  if (!first) return null;
  const thumbnail = local(first.thumbnail_url);
  return (
    <li className={isChosen ? "tile chosen" : "tile"} style={style} aria-posinset={position} aria-setsize={-1}>
      <button type="button" className="frame" onClick={() => open(generation)} aria-label={`Open: ${name}`}>
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
        <Button quiet label={`Choose: ${name}`} pressed={isChosen} onPress={() => choose(generation)}>
          {isChosen ? "☑" : "☐"}
        </Button>
      </div>
      <p className="caption ellipsis" title={name}>
        {name}
      </p>
    </li>
  );
}, isSame);

function Lightbox({ generation, close, remove }: { generation: Generation; close: () => void; remove: () => void }) {
  const navigate = useNavigate();
  const add = useDraw();
  const offer = useOffer();
  const [dialog, setDialog] = useState<"edit" | "share">();
  const [first] = generation.results;
  if (!first) return null;
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
      {first.metadata.media_type !== "image/svg+xml" && (
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
      <Button onPress={() => setDialog("share")}>Share</Button>
      <Button quiet onPress={remove}>
        Delete
      </Button>
    </PictureView>
  );
}
