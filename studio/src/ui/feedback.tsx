// What a page shows instead of its content: that it loads, that there is nothing, that something went wrong.
import type { ReactNode } from "react";
import { Problem } from "../api/client";
import { Button } from "./controls";

export function Skeletons({ count, className = "tile" }: { count: number; className?: string }) {
  const keys = Array.from({ length: count }, (_, index) => `skeleton-${index}`);
  return (
    <>
      {keys.map((key) => (
        <div key={key} className={`skeleton ${className}`} aria-hidden="true" />
      ))}
    </>
  );
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="empty">
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function Failed({ error, retry }: { error: unknown; retry?: () => void }) {
  const title = error instanceof Problem ? error.title : "Something went wrong";
  const detail = error instanceof Problem ? error.detail : String(error);
  return (
    <div className="empty" role="alert">
      <h2>{title}</h2>
      <p>{detail}</p>
      {retry && <Button onPress={retry}>Try again</Button>}
    </div>
  );
}

export function Progress({ value, label }: { value: number; label: string }) {
  const percent = Math.round(value * 100);
  return (
    <div
      className="progress"
      role="progressbar"
      aria-label={label}
      aria-valuenow={percent}
      aria-valuemin={0}
      aria-valuemax={100}
    >
      <div className="bar" style={{ inlineSize: `${percent}%` }} />
    </div>
  );
}
