/** The app at `/`. */

import '../styles/tokens.css';
import '../styles/base.css';

import { mount } from 'svelte';

import { keepTheme } from '../settings/theme';
import { loadWords } from '../words/words.svelte';
import App from './App.svelte';

keepTheme();
await loadWords();
mount(App, { target: document.getElementById('app')! });
