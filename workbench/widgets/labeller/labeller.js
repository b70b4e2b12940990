// The labeller.
import { LabellerView } from "./labeller_view.js";

function render({ model, el }) {
  const view = new LabellerView(model, el);
  return () => view.detach();
}
export default { render };
