// One generation in the grid of the gallery.
import { type CSSProperties, memo } from "react";
import { local, withQuery } from "../../api/client";
import { type Generation, useFavorite } from "../../api/queries";
import { Button } from "../../ui/controls";
import { toastError } from "../../ui/toasts";

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

export const Thumbnail = memo(function Thumbnail({
  generation,
  isChosen,
  choose,
  open,
  style,
  position,
}: ThumbnailProps) {
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
