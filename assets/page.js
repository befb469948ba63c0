// What the page does by itself: who the visitor is, links, the keyboard, and figures for an audience.
(() => {
  const KEY = 'fusion-ui-visitor', LINK = '#settings=';

  // An id that nobody can guess stands for this browser. The server keeps the numbers, and tells them to no other id.
  const visitor = () => {
    try {
      let id = localStorage.getItem(KEY);
      if (!/^[0-9a-f]{32}$/.test(id || '')) {
        id = [...crypto.getRandomValues(new Uint8Array(16))].map(b => b.toString(16).padStart(2, '0')).join('');
        localStorage.setItem(KEY, id);
      }
      return id;
    } catch {
      return ''; // a browser that keeps nothing: the history ends with the page
    }
  };

  const stamp = () => performance.timeOrigin + performance.now();

  // A link is used once: loading the page again then finds what the visitor made of it.
  const arrive = () => {
    const link = location.hash.startsWith(LINK) ? location.hash.slice(LINK.length) : '';
    if (link) history.replaceState(null, '', location.pathname + location.search);
    return [visitor(), link, stamp()];
  };
  addEventListener('hashchange', () => { if (location.hash.startsWith(LINK)) location.reload(); });

  // The address, and what became of copying it: a browser may refuse, and knows no clipboard on a page without https.
  const copy = async (link, said) => {
    if (!link) return ['', said];
    const address = location.origin + location.pathname + LINK + link;
    const isCopied = navigator.clipboard
      ? await navigator.clipboard.writeText(address).then(() => true, () => false)
      : false;
    const message = isCopied
      ? 'The link is copied. It holds settings, and no numbers.'
      : 'Your browser did not let the page copy the link. Copy it from the box. It holds settings, and no numbers.';
    return [address, {message, fraction: null, detail: '', error: !isCopied}];
  };

  const present = (isOn = !document.body.classList.contains('presenting')) => {
    document.body.classList.toggle('presenting', isOn); // which redraws every figure
    const button = document.querySelector('#present');
    button?.setAttribute('aria-pressed', isOn);
    if (button) button.textContent = isOn ? 'Leave (Esc)' : 'Present';
    if (isOn) scrollTo({top: 0});
  };

  const move = (slider, steps) => {
    const step = Number(slider.step), [low, high] = [Number(slider.min), Number(slider.max)];
    const value = Math.min(high, Math.max(low, Number(slider.value) + steps * step));
    Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(slider, value);
    slider.dispatchEvent(new Event('input', {bubbles: true}));
  };

  // Keys mean something here only where nothing on the page wants them.
  const isFree = focus => !focus || focus === document.body || (focus.tagName === 'BUTTON' && !focus.matches('[role]'));

  // Undoing belongs to whoever types. A slider, a box or a list keeps the focus after it was used, and there nothing
  // was typed; in a list with a field for searching something may have been, until an entry is chosen.
  let searched = null;
  addEventListener('input', event => { searched = event.isTrusted ? event.target : null; }, true);
  addEventListener('pointerdown', () => { searched = null; }, true);
  addEventListener('keydown', event => { if (event.key === 'Enter') searched = null; }, true);
  const isTyping = focus => {
    if (!focus?.matches('input, textarea')) return !!focus?.isContentEditable;
    if (focus.matches('[role=combobox]')) return focus === searched;
    return !['range', 'checkbox', 'radio', 'file', 'button', 'submit'].includes(focus.type);
  };

  // Gradio's tabs open by Enter alone; people expect the arrows.
  const turn = (tab, side) => {
    const tabs = [...tab.closest('[role=tablist]').querySelectorAll('[role=tab]:enabled')];
    const next = tabs[(tabs.indexOf(tab) + side + tabs.length) % tabs.length];
    next.focus();
    next.click();
  };

  addEventListener('keydown', event => {
    const focus = document.activeElement, slider = document.querySelector('#alpha input[type=range]');
    if (event.defaultPrevented || event.isComposing) return;
    if (event.key === 'Escape' && document.body.classList.contains('presenting')) return present(false);
    const side = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (side && focus?.matches('[role=tab]')) return turn(focus, side);
    if (side && slider && !event.ctrlKey && !event.metaKey && !event.altKey) {
      if (!isFree(focus) && !(focus === slider && event.shiftKey)) return;
      event.preventDefault();
      move(slider, side * (event.shiftKey ? 10 : 1));
    } else if (event.key.toLowerCase() === 'z' && (event.ctrlKey || event.metaKey) && !isTyping(focus)) {
      event.preventDefault();
      document.querySelector(event.shiftKey ? '#redo' : '#undo')?.click();
    }
  });

  // A method with a reason why it cannot merge stands in the list greyed: gradio's lists know no disabled entries.
  const isOff = target => {
    const item = target instanceof Element && target.closest('#methods [role=option]');
    return item && item.textContent.includes(' · ') && item.getAttribute('aria-selected') !== 'true';
  };
  new MutationObserver(() => {
    for (const item of document.querySelectorAll('#methods [role=option]')) {
      if (isOff(item) !== (item.getAttribute('aria-disabled') === 'true')) item.setAttribute('aria-disabled', isOff(item));
    }
  }).observe(document, {subtree: true, childList: true});
  for (const kind of ['pointerdown', 'mousedown', 'click']) {
    addEventListener(kind, event => {
      if (!isOff(event.target)) return;
      event.preventDefault();
      event.stopImmediatePropagation();
    }, true);
  }

  // All calls answer over one stream. One that is taken while it closes would not be heard before the next call
  // (fusion_ui/ui/waking.py): where that may be so and no stream has opened since, a call that does nothing opens one.
  const fetching = window.fetch;
  let isOpen = false, isTaken = false;
  window.fetch = async (...asked) => {
    const request = asked[0] instanceof Request ? asked[0] : null, address = request?.url ?? String(asked[0]);
    if (request && address.includes('/queue/data?')) {
      [isOpen, isTaken] = [true, false];
      request.signal.addEventListener('abort', () => {
        isOpen = false;
        if (isTaken) setTimeout(() => isOpen || document.querySelector('#wake')?.click(), 200);
      });
    }
    const response = await fetching(...asked);
    if (address.includes('/queue/join')) isTaken = isOpen;
    return response;
  };

  window.fusionUI = {arrive, copy, present, stamp};
})();
