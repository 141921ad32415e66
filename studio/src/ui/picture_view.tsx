import type { ReactNode } from "react";
import { withQuery } from "../api/client";
import { Dialog, LinkButton } from "./controls";
import { Fact } from "./facts";

interface Props {
  isOpen: boolean;
  onClose: () => void;
  url: string;
  title: string;
  facts: Record<string, string>;
  onSave?: () => void;
  children?: ReactNode;
}

const FORMATS = { png: "PNG", webp: "WebP", jpeg: "JPEG" };

/** A picture as large as the window allows, beside everything that is known about it. */
export function PictureView({ isOpen, onClose, url, title, facts, onSave, children }: Props) {
  return (
    <Dialog title={title} isOpen={isOpen} onClose={onClose} wide>
      <div className="viewer">
        <div className="frame large">
          <img src={url} alt={title} />
        </div>
        <div className="stack">
          <dl className="facts">
            {Object.entries(facts).map(([name, value]) => (
              <Fact key={name} name={name} value={value} />
            ))}
          </dl>
          <div className="actions">
            {Object.entries(FORMATS).map(([format, name]) => (
              <LinkButton key={format} href={withQuery(url, { download: 1, format })} download="" onClick={onSave}>
                Save as {name}
              </LinkButton>
            ))}
            {children}
          </div>
        </div>
      </div>
    </Dialog>
  );
}
