// Prompts, taste and the art director: what pages read and send.
import { keepPreviousData, useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useSettled } from "../ui/settled";
import { own, Problem, request, type Schemas, send } from "./client";
import { queryClient } from "./queries";

export type Analysis = Schemas["AnalyzeResponse"];
export type PromptEntry = Schemas["HistoryEntry"];
export type Recommendation = Schemas["RecommendationInfo"];
export type Conversation = Schemas["ConversationInfo"];
export type ChatAnswer = Schemas["ChatResponse"];

/** Whose things are meant, in the words of these routes. */
export const whose = () => ({ userId: own().user_id });

/** The analysis of a prompt while it is written. It is not kept in the history. */
export function useAnalysis(prompt: string) {
  const settled = useSettled(prompt.trim());
  return useQuery({
    queryKey: ["analysis", settled],
    queryFn: () => request<Analysis>("POST", "/api/nlp/analyze", { body: { prompt: settled, save: false } }),
    enabled: settled !== "" && settled.length <= 10_000,
    staleTime: 600_000,
    placeholderData: (before) => (settled ? before : undefined),
  });
}

/** `recalls`: whether the stored memory that is most like the prompt is taken up. */
export const enhance = (prompt: string, recalls: boolean) =>
  request<Schemas["EnhanceResponse"]>("POST", "/api/nlp/enhance", {
    body: recalls ? { prompt, memoryContext: { recall: true }, ...whose() } : { prompt },
  });

export type Memory = Schemas["MemoryInfo"];

export const useMemories = (enabled: boolean) =>
  useQuery({
    queryKey: ["memories"],
    queryFn: () => request<Schemas["MemoriesResponse"]>("GET", "/api/memories", { query: whose() }),
    enabled,
  });

export async function addMemory(title: string, content: string) {
  await request<Memory>("POST", "/api/memories", { body: { title, content, ...whose() } });
  await queryClient.invalidateQueries({ queryKey: ["memories"] });
}

export const deleteMemory = (id: string) => send("DELETE", `/api/memories/${id}`, { query: whose() });

/** Makes a prompt an entry of the history. What fails here must not keep anybody from drawing. */
export async function keepPrompt(prompt: string) {
  try {
    await request<Analysis>("POST", "/api/nlp/analyze", { body: { prompt, ...whose() } });
    await queryClient.invalidateQueries({ queryKey: ["prompts"] });
  } catch {}
}

const PAGE = 30;

export const usePromptHistory = (filter: { q: string; favorite?: boolean }, enabled: boolean) =>
  useInfiniteQuery({
    queryKey: ["prompts", filter],
    queryFn: ({ pageParam }) =>
      request<Schemas["HistoryPage"]>("GET", "/api/nlp/history", {
        query: { ...filter, ...whose(), limit: PAGE, cursor: pageParam },
      }),
    initialPageParam: null as string | null,
    getNextPageParam: (page) => page.next_cursor,
    placeholderData: keepPreviousData,
    enabled,
  });

export function usePromptFavorite() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: ({ id, favorite }: { id: string; favorite: boolean }) =>
      request("PUT", `/api/nlp/favorite/${id}`, { body: { favorite, ...whose() } }),
    onSettled: () => client.invalidateQueries({ queryKey: ["prompts"] }),
  });
}

export const usePromptPresets = () =>
  useQuery({
    queryKey: ["prompt-presets"],
    queryFn: () => request<Schemas["PromptPresetsResponse"]>("GET", "/api/nlp/presets"),
    staleTime: 300_000,
  });

export type Suiting = Schemas["SelectedModel"];

export const suitingModels = (prompt: string) =>
  request<Schemas["SelectModelsResponse"]>("POST", "/api/orchestrator/select", { body: { prompt, ...whose() } });

export type Ranked = Schemas["OrchestratedResponse"];

/** Draws with the models that suit the prompt, and ranks what they drew. */
export const drawRanked = (prompt: string, seed: number | null, signal: AbortSignal) =>
  request<Ranked>("POST", "/api/orchestrator/generate", {
    body: { prompt, ...(seed === null ? {} : { seed }), ...whose() },
    signal,
  });

export const useRecommendations = () =>
  useQuery({
    queryKey: ["recommendations"],
    queryFn: () =>
      request<Schemas["RecommendationsResponse"]>("GET", "/api/recommendations", { query: { ...whose(), count: 6 } }),
  });

export const usePreferences = () =>
  useQuery({
    queryKey: ["preferences"],
    queryFn: () => request<Schemas["PreferencesResponse"]>("GET", "/api/preferences", { query: whose() }),
  });

export const useInsights = (prompt = "") =>
  useQuery({
    queryKey: ["insights", prompt],
    queryFn: () =>
      request<Schemas["InsightsResponse"]>("GET", "/api/analytics/insights", { query: { ...whose(), prompt } }),
  });

export type Chosen = Schemas["SelectResponse"];

/** What the user's bandit chooses, for a prompt or for any. */
export const chooseFor = (dimension: string, prompt: string) =>
  request<Chosen>("POST", "/api/recommendations/select", {
    body: { dimension, ...(prompt ? { prompt } : {}), ...whose() },
  });

export async function setChooser(algorithm: string, epsilon: number) {
  const body = { algorithm, epsilon, ...whose() };
  const changed = await request<Schemas["PreferencesResponse"]>("PUT", "/api/preferences", { body });
  queryClient.setQueryData(["preferences"], changed);
}

export const useSaid = (generationId: string) =>
  useQuery({
    queryKey: ["feedback", generationId],
    queryFn: () =>
      request<Schemas["StatsResponse"]>("GET", "/api/feedback/stats", { query: { ...whose(), generationId } }),
  });

export const say = (kind: "rate" | "like" | "share" | "download", body: Record<string, unknown>) =>
  request<Schemas["FeedbackResponse"]>("POST", `/api/feedback/${kind}`, { body: { ...body, ...whose() } });

export const useConversations = () =>
  useQuery({
    queryKey: ["conversations"],
    queryFn: () => request<Schemas["ConversationsPage"]>("GET", "/api/llm/conversations", { query: whose() }),
  });

export const conversationOf = (id: string) =>
  request<Conversation>("GET", `/api/llm/conversation/${id}`, { query: whose() });

export const setConversationStatus = (id: string, status: Conversation["status"]) =>
  request<Conversation>("PUT", `/api/llm/conversation/${id}`, { body: { status, ...whose() } });

export const deleteConversation = (id: string) => send("DELETE", `/api/llm/conversation/${id}`, { query: whose() });

export const act = (conversationId: string, actionId: string, confirm: boolean) =>
  request<Schemas["ActResponse"]>("POST", "/api/llm/act", {
    body: { conversationId, actionId, confirm, ...whose() },
  });

/** Sends a message; `onText` has the reply so far. The answer counts, even if it differs from it. */
export async function talk(
  body: Record<string, unknown>,
  onText: (text: string) => void,
  signal: AbortSignal,
): Promise<ChatAnswer> {
  const response = await send("POST", "/api/llm/chat", {
    body: { ...body, stream: true, ...whose() },
    headers: { Accept: "text/event-stream" },
    signal,
  });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let text = "";
  while (reader) {
    const { value, done } = await reader.read();
    if (done) break;
    rest += value;
    const events = rest.split("\n\n");
    rest = events.pop() ?? "";
    for (const event of events) {
      const kind = /^event: (\w+)/.exec(event)?.[1];
      const data = /^data: (.*)$/m.exec(event)?.[1];
      if (!kind || !data) continue;
      const found = JSON.parse(data);
      if (kind === "token") {
        text += found.text;
        onText(text);
      }
      if (kind === "done") return found as ChatAnswer;
      if (kind === "error") throw new Problem("No answer", found.detail, found.status);
    }
  }
  throw new Problem("No answer", "The answer ended before its end.", 0);
}
