// Before and after: answers of several models to one prompt.
import { Board } from "./comparison_view.js";

function render({ model, el }) {
  const board = new Board(model, el);
  return () => board.close();
}

export default { render };
