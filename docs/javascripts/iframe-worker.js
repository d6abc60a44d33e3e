// Search from file://, where browsers refuse to start workers: a hidden frame does the work.
// Named so that Material's offline plugin does not fetch one from a public server.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.documentElement.append(this.frame);
      const inside = this.frame.contentWindow;
      // What the worker says comes out; a worker waits for its scripts, and so does this one.
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      inside.importScripts = (...urls) => Promise.all(urls.map((each) => this.load(each)));
      this.ready = this.load(url);
    }

    load(url) {
      return new Promise((resolve, reject) => {
        const script = this.frame.contentDocument.createElement("script");
        script.src = new URL(url, location.href);
        script.onload = resolve;
        script.onerror = reject;
        this.frame.contentDocument.documentElement.append(script);
      });
    }

    postMessage(data) {
      const inside = this.frame.contentWindow;
      const say = () => inside.dispatchEvent(new inside.MessageEvent("message", { data }));
      this.ready.then(say);
    }

    terminate() {
      this.frame.remove();
    }
  };
}
