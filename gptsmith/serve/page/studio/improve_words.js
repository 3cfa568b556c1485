/** What an improvement is, in words. */

/** How a model learns. */
export function recipeWords(recipe, t) {
  const how = recipe.lora ? t("improve.by_adapters") : t("improve.by_weights");
  return `${t(`improve.learns_${recipe.objective}`, { count: recipe.num_examples })} ${how}`;
}

/** How far an improvement is, in a few words. */
export function stateWords(one, t) {
  const words = t(`improve.state_${one.state}`);
  return one.figures && one.num_judged ? `${words}: ${t("improve.score", one.figures)}` : words;
}

/** A probability, of which only the size counts. */
export const readableP = (p) => (p < 0.001 ? "< 0.001" : `= ${p.toPrecision(1)}`);
