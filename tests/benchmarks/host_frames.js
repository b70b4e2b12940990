// Hosts that show a notebook's outputs in frames, as near as they come without the host itself: VS
// Code by its own widget manager, in one frame for all outputs; Colab by its documented rules, in a
// frame an output. JupyterLab's page around them only lends its connection to the kernel.
async ({ kind, cells, path }) => {
  const VIEW = "application/vnd.jupyter.widget-view+json";
  const FILES = "/host-files";

  const { sessions } = window.jupyterapp.serviceManager;
  await sessions.ready;
  await sessions.refreshRunning();
  const known = await sessions.findByPath(path);
  const session = known
    ? sessions.connectTo({ model: known })
    : await sessions.startNew({ path, name: path, type: "notebook", kernel: { name: "python3" } });
  const kernel = (window.hostKernel = session.kernel);
  await kernel.info;
  kernel.commsOverSubshells = "disabled"; // neither host knows them

  document.getElementById("host")?.remove();
  const host = document.createElement("div");
  host.id = "host";
  host.style.cssText = "position: fixed; inset: 0; z-index: 99999; overflow: auto; background: white";
  document.body.append(host);

  /** A frame of its own, with require.js in it. */
  async function framed(number) {
    const frame = document.createElement("iframe");
    frame.className = `cell-${number}`;
    frame.style.cssText = `width: 100%; height: ${kind === "vscode" ? 2500 : 1400}px; border: 0`;
    frame.src = `${FILES}/frame.html`;
    host.append(frame);
    await new Promise((resolve) => frame.addEventListener("load", resolve, { once: true }));
    frame.contentWindow.keys = [];
    // what reaches the window is taken for a command of the host
    frame.contentWindow.addEventListener("keydown", ({ key }) => frame.contentWindow.keys.push(key));
    return frame;
  }

  const required = (page, ...names) => new Promise((resolve, reject) => page.requirejs(names, (...got) => resolve(got), reject));

  /** VS Code: one webview, its manager on a kernel of its own, widgets' code from the environment. */
  async function vscode() {
    const frame = await framed("all");
    const page = frame.contentWindow;
    const { activate } = await page.eval(`import("${FILES}/vscode-ipywidgets8.js")`);
    activate();
    page.vscIPyWidgets8.load();
    const loader = {
      widgetsRegisteredInRequireJs: new Set(),
      successHandler() {},
      errorHandler: (...what) => console.error(...what.map(String)),
      async loadWidgetScript(name) {
        page.requirejs.config({ paths: { [name]: `${FILES}/nbextensions/${name}/index` } });
        this.widgetsRegisteredInRequireJs.add(name);
      },
    };
    const manager = new page.vscIPyWidgets.WidgetManager(kernel, page.document.body, loader, () => {});
    return async (id) => {
      const place = page.document.createElement("div");
      page.document.body.append(place);
      const model = await manager.get_model(id);
      await manager.display_view({}, await manager.create_view(model, { el: place }), { node: place });
    };
  }

  /** Colab: what the page knows of each model, and a manager in every frame that is told of it.
   *
   * What a widget says while its kernel answers nobody (from a thread) never reaches its frame.
   */
  async function colab() {
    const models = new Map(); // model -> its comm, state and frames' listeners
    const answering = new Set(); // requests between busy and idle
    kernel.registerCommTarget("jupyter.widget", (comm, message) => {
      models.set(comm.commId, { comm, state: { ...message.content.data.state }, heard: [] });
    });
    kernel.iopubMessage.connect((_, message) => {
      const { content, header, parent_header: parent } = message;
      if (header.msg_type === "status") answering[content.execution_state === "busy" ? "add" : "delete"](parent.msg_id);
      const model = header.msg_type === "comm_msg" && models.get(content.comm_id);
      if (!model) return;
      if (content.data.method === "update") Object.assign(model.state, content.data.state);
      if (answering.has(parent.msg_id)) for (const hear of model.heard) hear(message);
    });
    return async (id, number) => {
      const page = (await framed(number)).contentWindow;
      page.requirejs.config({ paths: { libembed: `${FILES}/libembed-amd`, anywidget: `${FILES}/nbextensions/anywidget/index` } });
      await required(page, "libembed");
      const [{ HTMLManager }] = await required(page, "@jupyter-widgets/html-manager");
      const manager = new HTMLManager({ loader: (name) => required(page, name).then(([module]) => module) });
      const made = new Map();
      manager.get_model = (wanted) => {
        if (!made.has(wanted)) made.set(wanted, model(manager, wanted));
        return made.get(wanted);
      };
      const view = await manager.create_view(await manager.get_model(id));
      await manager.display_view(view, page.document.body);
    };

    /** One model as a frame makes it: by its newest state, and a line to its kernel. */
    function model(manager, id) {
      const { comm, state, heard } = models.get(id);
      const line = {
        comm_id: id,
        target_name: "",
        send(data, callbacks, metadata, buffers) {
          const sent = comm.send(data, metadata, buffers);
          sent.done.then(() => callbacks?.iopub?.status?.({ content: { execution_state: "idle" } }));
          return "";
        },
        close() {},
        on_msg: (hear) => heard.push(hear),
        on_close() {},
      };
      const { _model_name: model_name, _model_module: model_module, _model_module_version: model_module_version } = state;
      return manager.new_model({ model_name, model_module, model_module_version, model_id: id, comm: line }, { ...state });
    }
  }

  const show = await { vscode, colab }[kind]();
  for (const [number, code] of cells.entries()) {
    const shown = [];
    const run = kernel.requestExecute({ code });
    run.onIOPub = ({ content }) => {
      if (content.data?.[VIEW]) shown.push(show(content.data[VIEW].model_id, number));
      if (content.ename) console.error(`${content.ename}: ${content.evalue}`);
    };
    await run.done;
    await Promise.all(shown);
  }
}
