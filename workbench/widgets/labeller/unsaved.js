// Over a reload, or a kernel that died: actions that are not saved yet wait in the tab.

const KEPT = "workbench-unsaved-labels"; // in sessionStorage
const KEPT_FOR = 3_600_000; // ms

/** Keep actions on an item until they are saved. */
export function keepUnsaved(acts) {
  changeKept((all) => {
    for (const act of acts) if (act.token) all[act.id] = act;
  });
}

/** Let go of an action that is saved, or never will be. */
export function forgetUnsaved(act) {
  changeKept((all) => delete all[act.id]);
}

/** What waits in this tab, of whatever session, oldest first; what is too old is dropped. */
export function unsavedHere() {
  const all = changeKept((acts) => {
    for (const [id, act] of Object.entries(acts))
      if (Date.now() - act.at > KEPT_FOR) delete acts[id];
  });
  return Object.values(all).sort((a, b) => a.at - b.at);
}

function changeKept(change) {
  try {
    const all = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
    const before = JSON.stringify(all);
    change(all);
    const after = JSON.stringify(all);
    if (after !== before) sessionStorage.setItem(KEPT, after);
    return all;
  } catch {
    return {}; // no storage in this frame: the labels then live as long as the page
  }
}
