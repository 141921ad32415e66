// A picture from this machine, from what was drawn, or from the references.
import { useState } from "react";
import { local, withQuery } from "../../api/client";
import { useGallery, useReferences } from "../../api/queries";
import { Button, Dialog, Drop, Segments } from "../../ui/controls";
import { Empty, Failed, Skeletons } from "../../ui/feedback";
import { toastError } from "../../ui/toasts";
import { type Picture, pictureOfFile, pictureOfReference, pictureOfResult, resultIn } from "./picture";

export const PICTURES = ["image/png", "image/jpeg", "image/webp"];

interface Props {
  label: string;
  text: string;
  onPick: (picture: Picture) => void;
}

export function PictureChooser({ label, text, onPick }: Props) {
  const [isOpen, setOpen] = useState(false);
  const ofAddress = (address: string) => {
    const result = resultIn(address);
    if (result) pictureOfResult(result, `/v1/results/${result}`).then(onPick, toastError);
    return result !== undefined;
  };
  return (
    <div className="chooser">
      <Drop
        label={label}
        accept={PICTURES}
        onFiles={([file]) => file && pictureOfFile(file).then(onPick, toastError)}
        onAddress={ofAddress}
      >
        <p>{text}</p>
      </Drop>
      <Button onPress={() => setOpen(true)}>Choose a stored one</Button>
      <Dialog title={label} isOpen={isOpen} onClose={() => setOpen(false)} wide>
        <Stored
          onPick={(picture) => {
            setOpen(false);
            picture.then(onPick, toastError);
          }}
        />
      </Dialog>
    </div>
  );
}

type OnPick = (picture: Promise<Picture>) => void;

function Stored({ onPick }: { onPick: OnPick }) {
  const [from, setFrom] = useState("gallery");
  return (
    <div className="stack">
      <Segments
        label="From"
        value={from}
        onChange={setFrom}
        options={[
          { id: "gallery", name: "Gallery" },
          { id: "references", name: "References" },
        ]}
      />
      {from === "gallery" ? <Results onPick={onPick} /> : <StoredReferences onPick={onPick} />}
    </div>
  );
}

function Results({ onPick }: { onPick: OnPick }) {
  const gallery = useGallery({ sort: "newest" });
  const results = (gallery.data?.pages ?? []).flatMap(({ generations }) =>
    generations.flatMap((generation) =>
      generation.results
        .filter(({ metadata }) => metadata.media_type !== "image/svg+xml")
        .map((result) => ({ ...result, name: generation.prompt || generation.kind })),
    ),
  );
  if (gallery.isError) return <Failed error={gallery.error} retry={gallery.refetch} />;
  if (gallery.data && !results.length) return <Empty title="No pictures yet" />;
  return (
    <>
      <ul className="grid gallery">
        {gallery.isPending && <Skeletons count={8} />}
        {results.map(({ id, image_url, thumbnail_url, name }) => (
          <Item
            key={id}
            name={name}
            url={withQuery(local(thumbnail_url), { size: 256 })}
            pick={() => onPick(pictureOfResult(id, image_url, name))}
          />
        ))}
      </ul>
      {gallery.hasNextPage && (
        <Button onPress={() => gallery.fetchNextPage()} isDisabled={gallery.isFetchingNextPage}>
          More
        </Button>
      )}
    </>
  );
}

function StoredReferences({ onPick }: { onPick: OnPick }) {
  const references = useReferences();
  if (references.isError) return <Failed error={references.error} retry={references.refetch} />;
  if (references.data && !references.data.items.length) return <Empty title="No references yet" />;
  return (
    <ul className="grid gallery">
      {references.isPending && <Skeletons count={4} />}
      {references.data?.items.map((one) => (
        <Item
          key={one.id}
          name={one.subject_name}
          url={local(one.thumbnail_url)}
          pick={() => onPick(Promise.resolve(pictureOfReference(one)))}
        />
      ))}
    </ul>
  );
}

function Item({ name, url, pick }: { name: string; url: string; pick: () => void }) {
  return (
    <li className="tile">
      <button type="button" className="frame" onClick={pick} aria-label={`Take: ${name}`}>
        <img src={url} alt={name} loading="lazy" decoding="async" />
      </button>
      <p className="caption ellipsis">{name}</p>
    </li>
  );
}
