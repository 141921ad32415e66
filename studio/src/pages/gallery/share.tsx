// A picture's link, and the code that shows it on a page.
import { useQuery } from "@tanstack/react-query";
import { request } from "../../api/client";
import { Button, Dialog, Text } from "../../ui/controls";
import { copy } from "../../ui/copy";
import { Failed } from "../../ui/feedback";

interface Props {
  result: string;
  title: string;
  onShared?: () => void;
  close: () => void;
}

const escaped = (text: string) =>
  text.replace(/[&<>"]/g, (sign) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[sign] ?? sign);

export function Share({ result, title, onShared, close }: Props) {
  const link = useQuery({
    queryKey: ["link", result],
    queryFn: () => request<{ url: string; width: number; height: number }>("GET", `/v1/results/${result}/metadata`),
    staleTime: 0,
  });
  if (link.isError)
    return (
      <Dialog title="Share" isOpen onClose={close}>
        <Failed error={link.error} retry={link.refetch} />
      </Dialog>
    );
  if (!link.data) return null;
  const { url, width, height } = link.data;
  const size = width && height ? ` width="${width}" height="${height}"` : "";
  const forms = {
    Link: url,
    "Embed code": `<img src="${escaped(url)}" alt="${escaped(title)}"${size} loading="lazy">`,
    Markdown: `![${title.replace(/[[\]]/g, "")}](${url})`,
  };
  const take = async (name: string, text: string) => {
    onShared?.();
    await copy(text, name);
  };
  return (
    <Dialog title="Share" isOpen onClose={close}>
      <div className="stack">
        {Object.entries(forms).map(([name, text]) => (
          <div className="row" key={name}>
            <Text label={name} value={text} onChange={() => {}} rows={2} />
            <Button onPress={() => take(name, text)} label={`Copy: ${name}`}>
              Copy
            </Button>
          </div>
        ))}
        {"share" in navigator && <Button onPress={() => navigator.share({ title, url })}>Share with an app</Button>}
        <p className="muted">
          Whoever has the link sees this picture and nothing else. Where the stack asks for keys it is valid for a
          while.
        </p>
      </div>
    </Dialog>
  );
}
