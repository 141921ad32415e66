import { useState } from "react";
import { usePromptPresets } from "../../api/mind";
import { Button, Segments } from "../../ui/controls";
import { Failed, Skeletons } from "../../ui/feedback";
import { capitalised } from "../../ui/format";

/** Prompts to begin with, a category at a time. */
export function Presets({ use }: { use: (prompt: string) => void }) {
  const { data, isError, error, refetch } = usePromptPresets();
  const [chosen, choose] = useState<string>();
  if (isError) return <Failed error={error} retry={refetch} />;
  if (!data) return <Skeletons count={4} className="line" />;
  const categories = Object.keys(data.categories);
  const category = chosen ?? categories[0];
  if (!category) return null;
  return (
    <div className="stack">
      <Segments
        label="Category"
        value={category}
        onChange={choose}
        options={categories.map((id) => ({ id, name: capitalised(id) }))}
      />
      <ul className="grid" aria-label="Presets">
        {data.categories[category]?.map(({ name, prompt }) => (
          <li key={name} className="card preset">
            <h2>{name}</h2>
            <p>{prompt}</p>
            <div className="actions">
              <Button label={`Use: ${name}`} onPress={() => use(prompt)}>
                Use
              </Button>
            </div>
          </li>
        ))}
      </ul>
    </div>
  );
}
