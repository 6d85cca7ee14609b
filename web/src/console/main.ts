/** The console at `/console`, for administrators. */

import '../styles/tokens.css';
import '../styles/base.css';

import { mount } from 'svelte';

import { keepTheme } from '../settings/theme';
import { loadWords } from '../words/words.svelte';
import Console from './Console.svelte';

keepTheme();
await loadWords('en');
mount(Console, { target: document.getElementById('app')! });
