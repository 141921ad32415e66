// The frame of every page: navigation, the state of the stack, sign-in where the site needs a key, shortcuts.
import { useQuery } from "@tanstack/react-query";
import { Link, Outlet, useRouterState } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import { send } from "./api/client";
import { sendOutbox } from "./api/outbox";
import { queryClient, useQueueInfo, useSession } from "./api/queries";
import { PAGES } from "./pages";
import { SignIn } from "./pages/profile/sign_in";
import { Button, Dialog } from "./ui/controls";
import { Empty } from "./ui/feedback";
import { useTheme } from "./ui/theme";
import { toast } from "./ui/toasts";

export function Shell() {
  const session = useSession();
  const [menu, setMenu] = useState(false);
  const path = useRouterState({ select: (state) => state.location.pathname });
  const current = PAGES.find((page) => page.path === path);
  useEffect(() => {
    document.title = current ? `${current.name} · Atelier` : "Atelier";
    setMenu(false);
  }, [current]);
  const locked = session.data?.required && session.data.user_id === null;
  const scopes = session.data?.scopes ?? [];
  const forbidden = current?.scope !== undefined && !scopes.includes(current.scope);
  return (
    <div className="shell">
      <a className="skip" href="#main">
        Skip to the page
      </a>
      <header className="topbar">
        <Button quiet label="Menu" pressed={menu} onPress={() => setMenu(!menu)}>
          ☰
        </Button>
        <Link to="/" className="brand">
          <img src="/studio/icon.svg" alt="" width="28" height="28" />
          Atelier
        </Link>
        {session.isSuccess && !locked && <Standing />}
        <ThemeButton />
      </header>
      <nav className={menu ? "nav open" : "nav"} aria-label="Pages">
        {PAGES.filter((page) => !page.scope || scopes.includes(page.scope)).map(({ path: to, name, icon }) => (
          <Link key={to} to={to} className="navlink" activeOptions={{ exact: true }}>
            <span aria-hidden="true" className="icon">
              {icon}
            </span>
            {name}
          </Link>
        ))}
      </nav>
      <main id="main" tabIndex={-1}>
        <Unreachable />
        {session.isSuccess && <Opened locked={locked ?? false} forbidden={forbidden} />}
      </main>
      <Shortcuts />
    </div>
  );
}

/** A page asks for nothing before it is known who asks. */
function Opened({ locked, forbidden }: { locked: boolean; forbidden: boolean }) {
  if (locked) return <SignIn />;
  if (!forbidden) return <Outlet />;
  return (
    <div className="page">
      <h1>For administrators</h1>
      <Empty title="This page needs an administrator's key">
        <p>Sign in with one on the profile page.</p>
      </Empty>
    </div>
  );
}

/** Whether the stack answers; when it does again, everything on the page is asked for anew. */
function useAlive(): boolean {
  const { failureCount } = useQuery({
    queryKey: ["alive"],
    queryFn: async ({ signal }) => {
      await send("GET", "/health/live", { signal: AbortSignal.any([signal, AbortSignal.timeout(5_000)]) });
      return Date.now();
    },
    retry: true,
    retryDelay: 1_500,
    refetchInterval: 10_000,
  });
  const lost = failureCount > 0;
  const wasLost = useRef(lost);
  useEffect(() => {
    if (wasLost.current && !lost)
      queryClient.invalidateQueries({ predicate: ({ queryKey }) => queryKey[0] !== "alive" });
    if (!lost) sendOutbox().then((sent) => sent && toast("success", `${sent} waiting in this browser were sent`));
    wasLost.current = lost;
  }, [lost]);
  return !lost;
}

function Unreachable() {
  return useAlive() ? null : (
    <p className="banner" role="alert">
      The stack does not answer. This page reconnects by itself; nothing that was queued is lost.
    </p>
  );
}

function Standing() {
  const { data } = useQueueInfo();
  if (!data) return <span className="standing" />;
  return (
    <Link to="/queue" className="standing" aria-label={`${data.processing} running, ${data.pending} waiting`}>
      <span className={data.processing ? "dot busy" : "dot"} aria-hidden="true" />
      {data.processing} running · {data.pending} waiting
    </Link>
  );
}

function ThemeButton() {
  const [theme, setTheme] = useTheme();
  const other = theme === "dark" ? "light" : "dark";
  return (
    <Button quiet label={`Use the ${other} theme`} onPress={() => setTheme(other)}>
      {theme === "dark" ? "☀" : "☾"}
    </Button>
  );
}

const KEYS = [
  ["Ctrl Enter", "Draw, or vectorise again"],
  ["Arrows, Shift arrows", "Move and resize a box of the layout; with Ctrl by larger steps"],
  ["Delete, Ctrl Z", "Remove a box of the layout, undo"],
  ["?", "This list"],
  ["Escape", "Close a dialog"],
  ["Tab, arrows", "Move between controls, and within one"],
];

function Shortcuts() {
  const [isOpen, setOpen] = useState(false);
  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      const typing = (event.target as HTMLElement).matches("input, textarea, [contenteditable]");
      if (event.key === "?" && !typing) setOpen(true);
    };
    window.addEventListener("keydown", listen);
    return () => window.removeEventListener("keydown", listen);
  }, []);
  return (
    <Dialog title="Keyboard shortcuts" isOpen={isOpen} onClose={() => setOpen(false)}>
      <dl className="facts">
        {KEYS.map(([key, does]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}
