// Stars and likes of a picture, which teach the recommendations.
import { say, useSaid } from "../../api/mind";
import { queryClient } from "../../api/queries";
import { Button } from "../../ui/controls";
import { Thumb } from "../../ui/thumb";
import { toastError } from "../../ui/toasts";

const STARS = [1, 2, 3, 4, 5];

export function Say({ generationId }: { generationId: string }) {
  const { data } = useSaid(generationId);
  const stars = data?.given?.rate?.value ?? 0;
  const liked = data?.given?.like !== undefined;
  const send = async (kind: "rate" | "like", body: Record<string, unknown>) => {
    try {
      await say(kind, { generationId, ...body });
      for (const key of ["feedback", "gallery", "recommendations", "preferences", "insights"])
        queryClient.invalidateQueries({ queryKey: [key] });
    } catch (error) {
      toastError(error);
    }
  };
  return (
    <fieldset className="actions say" aria-label="What do you think of it?">
      {STARS.map((count) => (
        <Button
          key={count}
          quiet
          label={count === 1 ? "1 star" : `${count} stars`}
          pressed={stars === count}
          onPress={() => send("rate", { stars: count })}
        >
          {count <= stars ? "★" : "☆"}
        </Button>
      ))}
      <Button quiet label="Like" pressed={liked} onPress={() => send("like", { liked: !liked })}>
        <Thumb filled={liked} />
      </Button>
    </fieldset>
  );
}
