// The art director: a conversation about a prompt, and actions that happen only when they are confirmed.
import { useNavigate } from "@tanstack/react-router";
import { useEffect, useRef, useState } from "react";
import {
  act,
  type ChatAnswer,
  conversationOf,
  deleteConversation,
  setConversationStatus,
  talk,
  useConversations,
} from "../../api/mind";
import { queryClient } from "../../api/queries";
import { Button, Text } from "../../ui/controls";
import { copy } from "../../ui/copy";
import { Fact } from "../../ui/facts";
import { Empty } from "../../ui/feedback";
import { plainFacts } from "../../ui/format";
import { useCtrlEnter } from "../../ui/shortcuts";
import { toast, toastError } from "../../ui/toasts";
import { keepSettings } from "../create/settings";

const QUICK = ["Suggest improvements", "Make it more dramatic", "Add more details", "Simplify", "Three variations"];

interface Bubble {
  role: "user" | "assistant";
  content: string;
  action?: ChatAnswer["action"];
  servedBy?: string;
}

export function Director() {
  const conversations = useConversations();
  const navigate = useNavigate();
  const [id, setId] = useState<string>();
  const [bubbles, setBubbles] = useState<Bubble[]>([]);
  const [prompt, setPrompt] = useState<string | null>(null);
  const [message, setMessage] = useState("");
  const [writing, setWriting] = useState<string>();
  const running = useRef<AbortController>(null);
  useEffect(() => () => running.current?.abort(), []);

  const refresh = () => queryClient.invalidateQueries({ queryKey: ["conversations"] });
  const ask = async (text: string) => {
    if (!text.trim() || writing !== undefined) return;
    setMessage("");
    setBubbles((before) => [...before, { role: "user", content: text }]);
    setWriting("");
    running.current = new AbortController();
    try {
      const { signal } = running.current;
      const answer = await talk({ message: text, conversationId: id, prompt }, setWriting, signal);
      if (signal.aborted) return;
      setId(answer.conversationId);
      setPrompt(answer.prompt);
      const { reply: content, action, served_by: servedBy } = answer;
      setBubbles((before) => [...before, { role: "assistant", content, action, servedBy }]);
      refresh();
    } catch (error) {
      if (running.current.signal.aborted) return;
      toastError(error);
      setBubbles((before) => before.slice(0, -1));
      setMessage(text);
    } finally {
      setWriting(undefined);
    }
  };
  useCtrlEnter(() => ask(message));

  const open = async (chosen: string) => {
    running.current?.abort();
    try {
      const found = await conversationOf(chosen);
      setId(found.id);
      setPrompt(found.finalPrompt);
      setBubbles(
        found.messages.map(({ role, content, metadata }) => ({
          role,
          content,
          action: metadata.action as Bubble["action"],
          servedBy: metadata.served_by as string | undefined,
        })),
      );
    } catch (error) {
      toastError(error);
    }
  };
  const begin = () => {
    running.current?.abort();
    setId(undefined);
    setPrompt(null);
    setBubbles([]);
  };
  const leave = async (how: (id: string) => Promise<unknown>) => {
    if (!id) return;
    try {
      await how(id);
      begin();
      refresh();
    } catch (error) {
      toastError(error);
    }
  };
  const decide = async (actionId: string, confirm: boolean) => {
    if (!id) return;
    try {
      const { status, jobIds } = await act(id, actionId, confirm);
      setBubbles((before) =>
        before.map((one) => (one.action?.id === actionId ? { ...one, action: { ...one.action, status } } : one)),
      );
      if (jobIds.length) toast("success", "It is on the queue; the result comes into the gallery");
    } catch (error) {
      toastError(error);
    }
  };
  const take = () => {
    if (!prompt) return;
    keepSettings({ prompt });
    navigate({ to: "/" });
  };
  return (
    <div className="split">
      <aside className="panel" aria-label="Conversations">
        <Button onPress={begin}>New conversation</Button>
        <ul className="list">
          {conversations.data?.conversations.map((one) => (
            <li key={one.id}>
              <button type="button" className="listitem" aria-pressed={one.id === id} onClick={() => open(one.id)}>
                <span className="ellipsis">{one.title}</span>
                {one.status === "completed" && <span className="muted">completed</span>}
              </button>
            </li>
          ))}
        </ul>
      </aside>
      <section className="page" aria-labelledby="director">
        <h1 id="director">Art director</h1>
        {bubbles.length === 0 && writing === undefined && (
          <Empty title="What would you like to see?">
            <p>Describe a picture. The art director keeps your idea, proposes how to say it, and explains why.</p>
          </Empty>
        )}
        <div className="chat" role="log" aria-label="Conversation">
          {bubbles.map((one, place) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: messages are only appended
            <article key={place} className={`bubble ${one.role}`}>
              <p>{one.content}</p>
              {one.servedBy === "rules" && <p className="muted">by rules, without a language model</p>}
              {one.action && <Proposal action={one.action} decide={decide} />}
            </article>
          ))}
          {writing !== undefined && (
            <article className="bubble assistant" aria-busy="true">
              <p>{writing || "…"}</p>
            </article>
          )}
        </div>
        {prompt && (
          <section className="card" aria-labelledby="current">
            <h2 id="current">Prompt</h2>
            <p>{prompt}</p>
            <div className="actions">
              <Button onPress={take}>Use in Create</Button>
              <Button quiet onPress={() => copy(prompt)}>
                Copy
              </Button>
            </div>
          </section>
        )}
        {id && (
          <div className="actions">
            <Button quiet onPress={() => leave((one) => setConversationStatus(one, "completed"))}>
              Complete conversation
            </Button>
            <Button quiet onPress={() => leave(deleteConversation)}>
              Delete conversation
            </Button>
          </div>
        )}
        {prompt && (
          <div className="actions">
            {QUICK.map((text) => (
              <Button key={text} quiet onPress={() => ask(text)} isDisabled={writing !== undefined}>
                {text}
              </Button>
            ))}
          </div>
        )}
        <form
          className="form"
          onSubmit={(event) => {
            event.preventDefault();
            ask(message);
          }}
        >
          <Text label="Message" rows={3} value={message} onChange={setMessage} maxLength={8000} />
          {writing === undefined ? (
            <Button primary type="submit" isDisabled={!message.trim()}>
              Send <kbd>Ctrl Enter</kbd>
            </Button>
          ) : (
            <Button onPress={() => running.current?.abort()}>Stop</Button>
          )}
        </form>
      </section>
    </div>
  );
}

const VERBS = { draw: "Draw it", vary: "Draw variations", vectorise: "Make an SVG" };

function Proposal({
  action,
  decide,
}: {
  action: NonNullable<Bubble["action"]>;
  decide: (id: string, confirm: boolean) => void;
}) {
  if (action.status !== "proposed") return <p className="muted">{action.status}</p>;
  const { result_id: source, ...facts } = action.arguments as Record<string, unknown>;
  return (
    <section className="stack" aria-label="What would be done">
      {typeof source === "string" && (
        <img src={`/v1/results/${encodeURIComponent(source)}/thumbnail`} alt="What it begins with" width={128} />
      )}
      <dl className="facts">
        {Object.entries(plainFacts(facts)).map(([name, value]) => (
          <Fact key={name} name={name} value={value} />
        ))}
      </dl>
      <div className="actions">
        <Button primary onPress={() => decide(action.id, true)}>
          {VERBS[action.tool]}
        </Button>
        <Button quiet onPress={() => decide(action.id, false)}>
          No
        </Button>
      </div>
    </section>
  );
}
