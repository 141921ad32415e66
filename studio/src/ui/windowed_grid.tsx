// A grid of which only the rows near the window exist in the page, so that its length costs nothing.
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { type CSSProperties, type ReactNode, useEffect, useLayoutEffect, useRef, useState } from "react";

interface Props<T> {
  items: T[];
  /** Pixels: the least width of a tile, and what a tile has below its square picture. */
  least: number;
  below: number;
  render: (item: T, place: { style: CSSProperties; position: number }) => ReactNode;
  /** Called when the last rows come near. */
  end: () => void;
}

const GAP = 16;
const ROWS_AHEAD = 3;

export function WindowedGrid<T>({ items, least, below, render, end }: Props<T>) {
  const list = useRef<HTMLUListElement>(null);
  const [box, setBox] = useState({ width: 0, top: 0 });
  useLayoutEffect(() => {
    const measured = list.current;
    if (!measured) return;
    const measure = () =>
      setBox({ width: measured.clientWidth, top: measured.getBoundingClientRect().top + window.scrollY });
    measure();
    const observer = new ResizeObserver(measure);
    observer.observe(measured);
    observer.observe(document.body);
    return () => observer.disconnect();
  }, []);
  const columns = Math.max(1, Math.floor((box.width + GAP) / (least + GAP)));
  const width = (box.width - GAP * (columns - 1)) / columns;
  const rows = useWindowVirtualizer({
    count: Math.ceil(items.length / columns),
    estimateSize: () => width + below + GAP,
    overscan: ROWS_AHEAD,
    scrollMargin: box.top,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: another width is another height of every row
  useEffect(() => rows.measure(), [width, rows]);
  const visible = rows.getVirtualItems();
  const isNearEnd = items.length > 0 && (visible.at(-1)?.index ?? 0) >= rows.options.count - 1 - ROWS_AHEAD;
  useEffect(() => {
    if (isNearEnd) end();
  }, [isNearEnd, end]);
  return (
    <ul ref={list} className="windowed" style={{ height: Math.max(0, rows.getTotalSize() - GAP) }}>
      {visible.flatMap(({ index, start }) =>
        items.slice(index * columns, (index + 1) * columns).map((item, column) =>
          render(item, {
            position: index * columns + column + 1,
            style: {
              width,
              height: width + below,
              transform: `translate(${column * (width + GAP)}px, ${start - box.top}px)`,
            },
          }),
        ),
      )}
    </ul>
  );
}
