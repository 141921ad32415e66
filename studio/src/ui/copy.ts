import { toast } from "./toasts";

/** Puts `text` on the clipboard and says so; without TLS browsers have only the older way. */
export async function copy(text: string, name = "") {
  const isCopied = await navigator.clipboard?.writeText(text).then(
    () => true,
    () => false,
  );
  if (isCopied || copySelected(text)) toast("success", name ? `${name} copied` : "Copied");
  else toast("error", "The browser does not allow copying; select the text instead");
}

function copySelected(text: string): boolean {
  const focused = document.activeElement;
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "off-screen";
  // Within the dialog that is open, if one is: it keeps the focus.
  (focused?.closest("[role=dialog]") ?? document.body).append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return done;
}
